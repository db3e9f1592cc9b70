"""Listening sockets that were open before this process: from a service manager, or from the server that it replaces.

Owns their descriptors until they are taken. Promises: `close_rest` closes those that nobody takes. Must not listen.
"""

import os
from collections.abc import Iterable, Sequence

from hsrv.options.bindspec import FdBind, NamedBind, parse_bind
from hsrv.system.sdnotify import KEPT


class Inheritance:
    """Descriptors by name; several may have the same."""

    def __init__(
        self, sockets: Iterable[tuple[str, int]] = (), *, instead_of_binds: Sequence[str] = ()
    ) -> None:
        """`instead_of_binds`: names that the old server listened on in place of what its --bind said."""
        self._sockets = list(sockets)
        self._outside = tuple(dict.fromkeys(instead_of_binds or self.names))
        self._numbers = frozenset(fd for _, fd in self._sockets)
        self.replaced: tuple[str, ...] = ()
        """Names that `binds` put in place of the configured addresses."""

    @property
    def names(self) -> list[str]:
        """The names of sockets that a service manager has opened and nobody has taken."""
        return [name for name, _ in self._sockets if not name.startswith(KEPT)]

    def binds(self, configured: tuple[str, ...]) -> tuple[str, ...]:
        """The addresses to listen on: the configured ones; but if a manager passes sockets and no --bind names one,
        those."""
        if not self._outside or any(self._is_meant(text) for text in configured):
            return configured
        self.replaced = self._outside
        return tuple(f"fd://{name}" for name in self._outside)

    def _is_meant(self, text: str) -> bool:
        bind = parse_bind(text)
        if isinstance(bind, FdBind):
            return bind.fd in self._numbers
        return isinstance(bind, NamedBind)

    def take(self, name: str) -> list[int]:
        """All descriptors with this name; the caller owns them."""
        found = [fd for known, fd in self._sockets if known == name]
        self._sockets = [one for one in self._sockets if one[0] != name]
        return found

    def release(self, fd: int) -> None:
        """Give up a descriptor that a --bind names by its number."""
        self._sockets = [one for one in self._sockets if one[1] != fd]

    def close_rest(self) -> list[str]:
        """Close the sockets that were not taken; returns their names."""
        names = [name for name, _ in self._sockets]
        for _, fd in self._sockets:
            os.close(fd)
        self._sockets.clear()
        return names
