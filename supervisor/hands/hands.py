"""Performs the plan's actions on processes and sockets.

Owns the descriptors that all generations share: the handoff channels and both ends of adopt. Promise: nothing is left
behind.
"""

from collections.abc import Callable

from hsrv.supervisor.hands.children import Children, Diagnostics
from hsrv.supervisor.hands.templates import Reuse, TemplateInputs, Templates
from hsrv.supervisor.plan import actions
from hsrv.supervisor.plan.actions import Action
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.loop import Hands, Loop
from hsrv.supervisor.sockets.listeners import refuse_connections, stop_new_connections
from hsrv.system.reaping import reap


class ProcessHands(Hands):
    """The hands of one server."""

    def __init__(
        self,
        loop: Loop,
        configuration: Configuration,
        inputs: TemplateInputs,
        *,
        diagnostics: Diagnostics,
        living: dict[int, ChildHandle],
        on_unknown_exit: Callable[[int, int], None],
        reuse: Reuse | None,
    ) -> None:
        """`living`, `diagnostics` and `on_unknown_exit`: see `Children`; `reuse`: see `Templates`."""
        self._loop = loop
        self._inputs = inputs
        self.children = Children(loop, configuration, diagnostics, living, on_unknown_exit)
        self.templates = Templates(
            loop, configuration, inputs, self.children, deaths=diagnostics.deaths, reuse=reuse
        )

    def perform(self, action: Action) -> None:
        if isinstance(action, actions.Kill):
            self._kill(action)
        elif isinstance(action, actions.ChildAction):
            self.children.act(action)
        elif isinstance(action, actions.ForkChild):
            self.templates.fork(action)
        elif isinstance(action, actions.SpawnTemplate):
            self.templates.spawn(action)
        elif isinstance(action, actions.QuitTemplate):
            self.templates.quit(action.generation, stays=action.template_stays)
        elif isinstance(action, actions.KillTemplate):
            self.templates.kill(action.generation, action.why)
        elif isinstance(action, actions.MoveHandoffs):
            self._inputs.handoffs.move(action.generation)
        elif isinstance(action, actions.PoolAvailable):
            self.children.pool_available(action)
        elif isinstance(action, actions.StopListening):
            stop_new_connections(self._inputs.addresses.listeners)
            self._loop.tasks.start_soon(self._refuse_connections)
        else:
            raise TypeError(f"no code performs {type(action).__name__}")

    def _kill(self, action: actions.Kill) -> None:
        child = self.children.handle(action.identity)
        if child is not None and child.pid:
            self.children.kill(child, action.reason, action.why)
        elif child is not None:
            self.templates.kill(child.identity.generation, f"it did not fork {child.identity.name}")

    async def _refuse_connections(self) -> None:
        """When every worker has accepted what waited in the queue. Bounded by the drain, which ends a worker that
        doesn't."""
        await self.children.all_drain()
        refuse_connections(self._inputs.addresses.listeners)

    def reap(self) -> None:
        """Collect every child that has ended: templates, children of templates that have ended, and, as PID 1, any
        other.

        Templates first: the last message of one may be that it forked one of the others.
        """
        dead = dict(reap())
        for pid in dead.keys() & self.templates.living.keys():
            self.templates.exited(pid, dead.pop(pid))
        for pid, status in dead.items():
            self.children.exited(pid, status)

    async def end(self, hurry: Callable[[], bool]) -> None:
        """The server has ended. `hurry`: whether not to wait for templates to exit."""
        self._inputs.handoffs.close_all()
        for channel in self._inputs.adopt:
            channel.close()
        await self.templates.end(hurry)
