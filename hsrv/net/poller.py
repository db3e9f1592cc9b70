"""One poller for all sockets of a process, independent of the event loop.

uvloop (libuv) stops watching a descriptor that reports an error without calling its callback: it would never report a
client that resets its connection, or a supervisor that is killed. A separate epoll object reports all events, is itself
watched by the loop as one descriptor, and costs one more system call per turn of the loop, not per event.
"""

import asyncio
import select
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol

from hsrv.net.context import own_context
from hsrv.net.outbox import Outbox
from hsrv.system.realthreads import RLock

MAX_EVENTS: Final = 256
"""Events handled per turn of the loop."""

CHECK_EVERY: Final = 8
"""Events after which the outbox is checked. Application calls, which take longer, are checked before each."""

Callback = Callable[..., object]


class Poller(Protocol):
    """The interface of event loops: callbacks, called as long as the descriptor is ready (level-triggered)."""

    outbox: Outbox

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
"""None if there is none. Captured now, because the application may remove it (gevent)."""

if hasattr(select, "epoll"):
    _READ: Final = select.EPOLLIN
    _WRITE: Final = select.EPOLLOUT
    _WAKES_READER: Final = select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP
    _WAKES_WRITER: Final = select.EPOLLOUT | select.EPOLLERR | select.EPOLLHUP

    class EpollPoller:
        """A `Poller` on an epoll object that `loop` watches."""

        def __init__(
            self, loop: asyncio.AbstractEventLoop, turn: RLock | None = None, most: int = MAX_EVENTS
        ) -> None:
            """`turn`: of the loop's first poller, if this is another. `most`: events handled per turn of the loop."""
            self._epoll = EPOLL()
            self._most = most
            self.turn = turn or RLock()
            """Held while callbacks run: while another thread holds it, no callback runs."""
            self.outbox = Outbox(loop, self.turn)
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
                # Unregister entirely: epoll reports errors even with an empty event mask, and the loop would spin.
                del self._entries[fd]
                self._epoll.unregister(fd)

        def _dispatch(self) -> None:
            outbox = self.outbox
            with self.turn:
                if outbox.waiting:
                    outbox.flush()  # written since the last time, by tasks
                ready = self._epoll.poll(0, self._most)
                if len(ready) > 1 or outbox.open:
                    outbox.begin(several=len(ready) > 1)
                outbox.dispatching = True
                try:
                    self._call_back(ready, outbox)
                finally:
                    outbox.dispatching = False
                    if outbox.more or outbox.waiting:
                        outbox.end_turn()

        def _call_back(self, ready: list[tuple[int, int]], outbox: Outbox) -> None:
            for number, (fd, events) in enumerate(ready):
                # A callback may change any entry; an event for a reused number is a harmless false alarm.
                entry = self._entries.get(fd)
                if entry is not None and entry.reader is not None and events & _WAKES_READER:
                    entry.reader[0](*entry.reader[1])
                    entry = self._entries.get(fd)
                if entry is not None and entry.writer is not None and events & _WAKES_WRITER:
                    entry.writer[0](*entry.writer[1])
                if not number % CHECK_EVERY and outbox.waiting and outbox.overdue(monotonic()):
                    outbox.flush()


class LoopPoller:
    """A `Poller` for systems without epoll: the loop itself, which calls back in the context of the registration."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.outbox = Outbox(loop, RLock())
        """Never opened."""
        self.remove_reader = loop.remove_reader
        self.remove_writer = loop.remove_writer

    def add_reader(self, fd: int, callback: Callback, *args: Any) -> None:
        own_context(self._loop).copy().run(self._loop.add_reader, fd, callback, *args)

    def add_writer(self, fd: int, callback: Callback, *args: Any) -> None:
        own_context(self._loop).copy().run(self._loop.add_writer, fd, callback, *args)


def poller_of(loop: asyncio.AbstractEventLoop) -> Poller:
    """The poller of a loop created by `hsrv.net.loops`; one without epoll if there is none, or for other loops."""
    found: Poller | None = getattr(loop, "hsrv_poller", None)
    if found is None:
        found = LoopPoller(loop)
        if EPOLL is not None and hasattr(loop, "__dict__"):
            found = EpollPoller(loop)
            loop.hsrv_poller = found  # type: ignore[attr-defined]  # our loops take attributes
    return found


class ReadyCheck:
    """Tells whether one of some descriptors is readable, without waiting and without reading."""

    def __init__(self, *fds: int) -> None:
        self._fds = fds
        self._epoll = EPOLL() if EPOLL is not None else None
        if self._epoll is not None:
            for fd in fds:
                self._epoll.register(fd, _READ)

    def __bool__(self) -> bool:
        if self._epoll is not None:
            return bool(self._epoll.poll(0, 1))
        return bool(select.select(self._fds, (), (), 0)[0])

    def close(self) -> None:
        """May be called again."""
        if self._epoll is not None:
            self._epoll.close()


def bounded_poller(loop: asyncio.AbstractEventLoop, most: int) -> Poller:
    """Another poller of the loop, which handles at most `most` events per turn: the next come in the next turn, after
    everything else that is due. Without epoll: the loop's own."""
    first = poller_of(loop)
    return first if EPOLL is None or isinstance(first, LoopPoller) else EpollPoller(loop, turn_of(loop), most)


def turn_of(loop: asyncio.AbstractEventLoop) -> RLock:
    """The lock for code that touches connections on this loop. An unused one if there is no epoll."""
    turn: RLock = getattr(poller_of(loop), "turn", None) or RLock()
    return turn


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """Where connections on this loop leave what is written at the end of a turn."""
    return poller_of(loop).outbox


async def wait_readable(fd: int) -> None:
    """Wait until `fd` has data, end-of-file or an error."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    poller = poller_of(loop)
    poller.add_reader(fd, _set_ready, ready)
    try:
        await ready
    finally:
        poller.remove_reader(fd)


async def wait_writable(fd: int) -> None:
    """Wait until `fd` is writable or broken."""
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
