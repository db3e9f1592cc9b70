"""One poller for all sockets of a process, beneath whichever event loop it runs.

uvloop (libuv) ends its watch of a descriptor that reports an error without calling its callback: of a client that
resets its connection, or a supervisor that is killed, it would never tell. An epoll object of our own tells all, is
itself watched by the loop as one descriptor, and costs one system call more per turn of the loop, not per event.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Any, Final, Protocol

from hsrv.net.context import own_context
from hsrv.system.realthreads import RLock

MAX_EVENTS: Final = 256
"""Events taken per turn of the loop."""

Callback = Callable[..., object]


class Poller(Protocol):
    """What an event loop offers too: callbacks, called as long as the descriptor is ready (level-triggered)."""

    def add_reader(self, fd: int, callback: Callback, *args: Any) -> Any: ...
    def remove_reader(self, fd: int) -> bool: ...
    def add_writer(self, fd: int, callback: Callback, *args: Any) -> Any: ...
    def remove_writer(self, fd: int) -> bool: ...


class _Entry:
    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        self.reader: tuple[Callback, tuple[Any, ...]] | None = None
        self.writer: tuple[Callback, tuple[Any, ...]] | None = None


EPOLL: Final[Any] = getattr(select, "epoll", None)
"""None where there is none. Taken now, for the application may take it away (gevent)."""

if hasattr(select, "epoll"):
    _READ: Final = select.EPOLLIN
    _WRITE: Final = select.EPOLLOUT
    _WAKES_READER: Final = select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP
    _WAKES_WRITER: Final = select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP

    class EpollPoller:
        """A `Poller` on an epoll object that `loop` watches."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._epoll = EPOLL()
            self.turn = RLock()
            """Held while callbacks run: another thread that has it knows that none does."""
            self._entries: dict[int, _Entry] = {}
            own_context(loop).copy().run(loop.add_reader, self._epoll.fileno(), self._dispatch)

        def add_reader(self, fd: int, callback: Callback, *args: Any) -> None:
            entry = self._entries.get(fd)
            if entry is None:
                entry = self._entries[fd] = _Entry()
                entry.reader = (callback, args)
                self._epoll.register(fd, _READ)
            else:
                entry.reader = (callback, args)
                self._update(fd, entry)

        def add_writer(self, fd: int, callback: Callback, *args: Any) -> None:
            entry = self._entries.get(fd)
            if entry is None:
                entry = self._entries[fd] = _Entry()
                entry.writer = (callback, args)
                self._epoll.register(fd, _WRITE)
            else:
                entry.writer = (callback, args)
                self._update(fd, entry)

        def remove_reader(self, fd: int) -> bool:
            entry = self._entries.get(fd)
            if entry is None or entry.reader is None:
                return False
            entry.reader = None
            self._update(fd, entry)
            return True

        def remove_writer(self, fd: int) -> bool:
            entry = self._entries.get(fd)
            if entry is None or entry.writer is None:
                return False
            entry.writer = None
            self._update(fd, entry)
            return True

        def _update(self, fd: int, entry: _Entry) -> None:
            mask = (_READ if entry.reader else 0) | (_WRITE if entry.writer else 0)
            if mask:
                self._epoll.modify(fd, mask)
            else:
                # Out entirely: epoll reports errors also to those who asked for nothing, and the loop would spin.
                del self._entries[fd]
                self._epoll.unregister(fd)

        def _dispatch(self) -> None:
            with self.turn:
                for fd, events in self._epoll.poll(0, MAX_EVENTS):
                    # A callback may change any entry; an event for a number that was reused is a harmless false alarm.
                    entry = self._entries.get(fd)
                    if entry is not None and entry.reader is not None and events & _WAKES_READER:
                        entry.reader[0](*entry.reader[1])
                        entry = self._entries.get(fd)
                    if entry is not None and entry.writer is not None and events & _WAKES_WRITER:
                        entry.writer[0](*entry.writer[1])


class LoopPoller:
    """A `Poller` where there is no epoll: the loop itself, which calls back in the context that it was asked in."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.remove_reader = loop.remove_reader
        self.remove_writer = loop.remove_writer

    def add_reader(self, fd: int, callback: Callback, *args: Any) -> None:
        own_context(self._loop).copy().run(self._loop.add_reader, fd, callback, *args)

    def add_writer(self, fd: int, callback: Callback, *args: Any) -> None:
        own_context(self._loop).copy().run(self._loop.add_writer, fd, callback, *args)


def poller_of(loop: asyncio.AbstractEventLoop) -> Poller:
    """The poller of a loop made by `hsrv.net.loops`; one without epoll where there is none, or for other loops."""
    found: Poller | None = getattr(loop, "hsrv_poller", None)
    if found is None:
        found = LoopPoller(loop)
        if EPOLL is not None and hasattr(loop, "__dict__"):
            found = EpollPoller(loop)
            loop.hsrv_poller = found  # type: ignore[attr-defined]  # our loops take attributes
    return found


def turn_of(loop: asyncio.AbstractEventLoop) -> RLock:
    """The lock that whatever touches connections on this loop holds. One of nobody's where there is no epoll."""
    turn: RLock = getattr(poller_of(loop), "turn", None) or RLock()
    return turn


async def wait_readable(fd: int) -> None:
    """Until there is something to read from `fd`, its end, or an error."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    poller = poller_of(loop)
    poller.add_reader(fd, _set_ready, ready)
    try:
        await ready
    finally:
        poller.remove_reader(fd)


async def wait_writable(fd: int) -> None:
    """Until something can be written to `fd`, or it is broken."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    poller = poller_of(loop)
    poller.add_writer(fd, _set_ready, ready)
    try:
        await ready
    finally:
        poller.remove_writer(fd)


def _set_ready(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
