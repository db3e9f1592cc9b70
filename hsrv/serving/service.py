"""The base of `hsrv.worker.worker.Worker` and `hsrv.asyncpool.pool.AsyncPool`: what `hsrv.child.life` does with either.

Owns the process's HTTP host, of which it is the delegate, and its drain.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from hsrv.board.layout import Count, Occupant
from hsrv.child.boot import ChildBoot, Learn
from hsrv.common.terms import Interface
from hsrv.http.activity import Activity, by_path, oldest
from hsrv.http.contract import Delegate
from hsrv.http.host import HTTPHost
from hsrv.rpc.methods import ChildReport, DrainParams
from hsrv.serving.admission import Admission
from hsrv.serving.drain import Drain
from hsrv.system.native import mypyc_attr
from hsrv.wsgi.runner import Runner


@mypyc_attr(allow_interpreted_subclasses=True)
class RoleService(Delegate):
    """One process's service between "serve" and its end (`hsrv.child.boot.Service`)."""

    def __init__(self, boot: ChildBoot, loop: asyncio.AbstractEventLoop, learn: Learn) -> None:
        self.host = HTTPHost(
            boot.identity,
            boot.config,
            boot.application,
            loop,
            boot.board,
            delegate=self,
            census=boot.census,
            collectors=boot.collectors,
        )
        self.places = boot.config.worker_concurrency
        """Calls that may be in progress at a time, in a worker."""
        self.calls_wsgi = boot.interface is Interface.WSGI
        if self.calls_wsgi:
            runner = Runner(boot.application, boot.config, boot.identity, self.host.no_thread)
            self.host.call_by(runner)
            self.places = runner.places
        self.admission = Admission(self.host)
        self.drain = Drain(loop)
        self.learn = learn
        """Reports a path pattern to the supervisor, and through it to every worker."""
        self.on_worn_out: Callable[[str, str], None] = _ignore
        """Called when this process should be replaced: with the reason as one word, and as text."""

    # what the roles add

    def open(self) -> None:
        """Accept, or receive, from now on."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what `open` took. Everything is over."""
        raise NotImplementedError

    def stop_taking(self, params: DrainParams) -> None:
        """A drain begins, or gets shorter budgets: take nothing that another process will take."""
        raise NotImplementedError

    def continue_drain(self, params: DrainParams, age: float) -> None:
        """Do what is due `age` seconds after the drain began."""
        raise NotImplementedError

    def finish(self) -> None:
        """No other process will pass anything to this one any more."""
        raise NotImplementedError

    def busy(self) -> bool:
        """Whether anything is still to be finished."""
        return self.host.busy()

    def activities(self) -> list[Activity]:
        """Everything that has to end before this process can."""
        return self.host.activities()

    def tell_board(self) -> None:
        """Publish what is not worth an update at each change."""
        self.host.tell_board()

    # hsrv.child.boot.Service

    def set_lifespan_state(self, state: dict[str, Any]) -> None:
        """What the application's lifespan startup left in `scope["state"]`."""
        self.host.state = state

    def run(self) -> Coroutine[Any, Any, None]:
        """To be awaited: serve until a drain is over."""
        self.open()
        self.host.sweeps.start()
        return self.drain.over(self._leave)

    def _leave(self) -> None:
        self.close()
        self.host.leave()

    def announce_close(self) -> None:
        """From now on every response asks its client to reconnect."""
        self.host.closing = True

    def begin_drain(self, params: DrainParams) -> None:
        """Take nothing new, finish what runs within the budgets, then let `run` end."""
        if self.drain.begin(params):
            self.host.closing = not params.adopt
            self.stop_taking(params)
            self.continue_drain(params, self.drain.age(self.host.loop.time()))

    def sweep_drain(self, now: float) -> None:
        """Called by each sweep."""
        if self.drain.params is not None:
            self.continue_drain(self.drain.params, self.drain.age(now))

    def report(self) -> ChildReport:
        """What this process is doing. Its counters are on the scoreboard, which is brought up to date."""
        with self.host.turn:
            now, found = monotonic(), self.activities()
            self.tell_board()
        return ChildReport(running=len(found), oldest=oldest(found, now), streams=by_path(found, now))

    def occupant(self, task: "asyncio.Task[Any] | None") -> Occupant | None:
        """The request that this task serves; with None, the one that runs in no task. Called from another thread, while
        the loop is blocked."""
        return self.host.occupant(task)

    def on_undecodable(self) -> None:
        """A packet from another process was dropped."""
        self.host.board.count(Count.UNDECODABLE)


def _ignore(reason: str, why: str) -> None:
    """Without a supervisor nothing replaces this process."""
