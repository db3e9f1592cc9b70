"""All sockets that a server listens on: an upgrade passes them on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hsrv.ipc.messages import ListenerInfo
from hsrv.supervisor.sockets.listeners import Listener


@dataclass
class Addresses:
    """The listening sockets of one server."""

    listeners: list[Listener]
    """The sockets of the workers."""
    beside: list[Listener] = field(default_factory=list)
    """Others, which pass to the next server too. Closed by the code that opened them."""
    operators: Callable[[], ListenerInfo | None] = lambda: None
    """The operator socket, if there is one."""
    instead_of_binds: tuple[str, ...] = ()
    """Names of the sockets that replaced --bind."""

    def all(self) -> list[Listener]:
        return [*self.listeners, *self.beside]

    def change(self, how: Callable[[Listener], Listener]) -> None:
        """Replace each of them."""
        for listeners in (self.listeners, self.beside):
            listeners[:] = map(how, listeners)

    def files_beside(self) -> tuple[ListenerInfo, ...]:
        """The socket files that workers don't use."""
        operators = self.operators()
        return (
            *((operators,) if operators is not None else ()),
            *(listener.info for listener in self.beside),
        )

    def files(self) -> tuple[ListenerInfo, ...]:
        """All socket files."""
        return (*(listener.info for listener in self.listeners), *self.files_beside())
