"""Counts connections, requests and streams of all processes together, for server-wide limits.

A table in shared memory; each worker and pool writes its own row, and the sum over the rows is the total of the server.
Promises: no lock and no message, so reading costs microseconds and no process waits for another; the counts of a
process that died, in whatever way, are removed, because its row is guarded by a lock that ends with it. If two
processes admit at the same moment, a limit may be exceeded by one.

Clients are counted by a hash of their address in two arrays, of which the smaller number counts: the memory is bounded
for any addresses, and confusing two clients takes two collisions.
"""

import contextlib
import fcntl
import mmap
import os
from collections.abc import Iterator
from enum import IntEnum, auto
from functools import partial
from hashlib import blake2b
from ipaddress import IPv6Address
from typing import Final

from hsrv.common.request import Address
from hsrv.ipc.anonfile import anonymous_file
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn
from hsrv.options.config import Config

ROWS: Final = 128
"""Processes that can be counted at a time, of all living generations."""

BUCKETS: Final = 4096
"""In each of the two arrays. Together 4 MiB of address space; pages are allocated as clients connect."""

KEY_BYTES: Final = 16
"""Length of the hash key; it prevents clients from choosing colliding addresses."""

_CELL: Final = 4


class CensusKind(IntEnum):
    """What is counted besides clients."""

    CONNECTIONS = 0
    REQUESTS = auto()
    """In progress, or waiting for a place in a worker; without streams."""
    STREAMS = auto()
    WEBSOCKETS = auto()


_HEADER: Final = len(CensusKind) * ROWS
_SIZE: Final = (_HEADER + 2 * BUCKETS * ROWS) * _CELL

log = get_logger("hsrv.census")


def is_needed(config: Config) -> bool:
    """Whether any limit is set that applies to all processes together."""
    return bool(
        config.limit_connections
        or config.limit_connections_per_client
        or config.limit_concurrency
        or config.limit_streams
        or config.limit_websockets
    )


def new_file() -> int:
    """The descriptor of an empty table, close-on-exec. Raises OSError."""
    fd = anonymous_file("hsrv-census")
    os.ftruncate(fd, _SIZE + KEY_BYTES)
    os.pwrite(fd, os.urandom(KEY_BYTES), _SIZE)
    return fd


class Census:
    """This process's row of the table, and the sums over all."""

    def __init__(self, fd: int) -> None:
        """Takes ownership of `fd`; the lock of this process's row is held through it."""
        self._fd = fd
        self._map = mmap.mmap(fd, _SIZE + KEY_BYTES)
        self._key = self._map[_SIZE:]
        self._cells = memoryview(self._map)[:_SIZE].cast("I")
        self._row = self._claim()

    def _claim(self) -> int:
        for row in range(ROWS):
            if self._lock(row):
                self._clear(row)
                return row
        log.warning("not counted", why=f"more than {ROWS} processes")
        return -1

    def _lock(self, row: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
        except OSError:
            return False
        return True

    def _clear(self, row: int) -> None:
        for cell in range(row, len(self._cells), ROWS):
            if self._cells[cell]:
                self._cells[cell] = 0

    def forget_the_dead(self) -> None:
        """Clear the rows of processes that died. Call periodically."""
        for row in range(ROWS):
            if (
                row != self._row
                and any(self._cells[kind * ROWS + row] for kind in CensusKind)
                and self._lock(row)
            ):
                self._clear(row)
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, row)

    def close(self) -> None:
        """Clear this process's row and stop counting. May be called again."""
        if self._fd >= 0:
            if self._row >= 0:
                self._clear(self._row)
            self._row = -1
            os.close(self._fd)
            self._fd = -1

    # counting

    def set(self, kind: CensusKind, count: int) -> None:
        """Set this process's count."""
        if self._row >= 0:
            self._cells[kind * ROWS + self._row] = count

    def total(self, kind: CensusKind) -> int:
        """The sum over all processes."""
        return self._sum(kind * ROWS)

    def enter(self, conn: Conn) -> None:
        """Count a connection until it leaves this process."""
        places = tuple(self._places(conn.origin.client))
        self._count(places, 1)
        conn.on_left = partial(self._count, places, -1)

    def leave(self, conn: Conn) -> None:
        """Stop counting a connection that is being closed."""
        if conn.on_left is not None:
            conn.on_left()
            conn.on_left = None

    def of_client(self, client: Address | None) -> int:
        """Connections of this client. 0 if it has no address, as on a Unix socket."""
        return min((self._sum(place) for place in self._places(client)), default=0)

    def _sum(self, start: int) -> int:
        return sum(self._cells[start : start + ROWS])

    def _count(self, places: tuple[int, ...], change: int) -> None:
        if self._row < 0:
            return
        for start in (CensusKind.CONNECTIONS * ROWS, *places):
            cell = start + self._row
            self._cells[cell] = max(0, self._cells[cell] + change)

    def _places(self, client: Address | None) -> Iterator[int]:
        """First cells of a client's buckets."""
        if client is None or client[1] is None:
            return
        digest = blake2b(_name(client[0]), digest_size=8, key=self._key).digest()
        for array in range(2):
            bucket = int.from_bytes(digest[4 * array : 4 * array + 4], "big") % BUCKETS
            yield _HEADER + (array * BUCKETS + bucket) * ROWS


def _name(host: str) -> bytes:
    """The key of a client. An IPv6 client is identified by its /64."""
    if ":" in host:
        with contextlib.suppress(ValueError):
            address = IPv6Address(host.partition("%")[0])
            return str(address.ipv4_mapped).encode() if address.ipv4_mapped else address.packed[:8]
    return host.encode()
