"""The sockets that a server listens on, in one place: an upgrade passes them on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hsrv.ipc.messages import ListenerInfo
from hsrv.supervisor.sockets.listeners import Listener


@dataclass
class Addresses:
    """Of one server."""

    listeners: list[Listener]
    """Those of the workers."""
    beside: list[Listener] = field(default_factory=list)
    """Those that are no workers' business and pass to the next server too. Whoever opened them closes them."""
    operators: Callable[[], ListenerInfo | None] = lambda: None
    """The operator's socket, if there is one."""
    instead_of_binds: tuple[str, ...] = ()
    """Names of the sockets that replaced --bind."""

    def all(self) -> list[Listener]:
        return [*self.listeners, *self.beside]

    def change(self, how: Callable[[Listener], Listener]) -> None:
        """Put another in the place of each."""
        for listeners in (self.listeners, self.beside):
            listeners[:] = map(how, listeners)

    def files_beside(self) -> tuple[ListenerInfo, ...]:
        """The socket files that no worker listens on."""
        operators = self.operators()
        return (
            *((operators,) if operators is not None else ()),
            *(listener.info for listener in self.beside),
        )

    def files(self) -> tuple[ListenerInfo, ...]:
        """All socket files."""
        return (*(listener.info for listener in self.listeners), *self.files_beside())
