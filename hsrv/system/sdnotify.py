"""The protocol between a service manager and its service: sd_notify, socket activation, the descriptor store.

Owns the socket to the manager. Promises: the manager's variables are removed from the environment, so no child process
takes itself for the service; sending never raises, takes SEND_TIMEOUT at most, and returns whether it succeeded.
"""

import array
import hashlib
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote

from hsrv.logs.logging import get_logger

FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START."""

UNNAMED: Final = "unknown"
"""The manager's own name for a socket without a name."""

KEPT: Final = "hsrv-kept-"
"""Prefix of the names under which a server's own sockets are stored for the next server."""

NAME_LIMIT: Final = 255
"""Characters of a descriptor's name (sd_pid_notify_with_fds(3))."""

SEND_TIMEOUT: Final = 1.0
"""Seconds to wait for room in the manager's queue."""

VARIABLES: Final = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "FDSTORE",
)

log = get_logger("hsrv.supervisor")


@dataclass(frozen=True)
class ManagerEnvironment:
    """What the manager has set up for this service."""

    notify: str = ""
    """Address of its socket; "" when there is none."""
    watchdog: float = 0.0
    """Seconds of silence after which it considers the service hung; 0: no watchdog."""
    store: bool = False
    """It stores descriptors for the next start."""
    sockets: tuple[tuple[str, int], ...] = ()
    """Name and descriptor of each socket that it passed."""

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """Read the variables and remove them. Variables meant for another process are ignored."""
        given = {name: environ.pop(name, "") for name in VARIABLES}
        watched = given["WATCHDOG_PID"] in ("", str(pid))
        activated = given["LISTEN_PID"] == str(pid)
        return cls(
            notify=given["NOTIFY_SOCKET"],
            watchdog=_number(given["WATCHDOG_USEC"]) / 1e6 if watched else 0.0,
            store=bool(given["NOTIFY_SOCKET"]) and _number(given["FDSTORE"]) > 0,
            sockets=_named(_number(given["LISTEN_FDS"]), given["LISTEN_FDNAMES"]) if activated else (),
        )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _named(count: int, names: str) -> tuple[tuple[str, int], ...]:
    known = names.split(":") if names else []
    known += [UNNAMED] * (count - len(known))
    return tuple((known[at] or UNNAMED, FIRST_FD + at) for at in range(count))


def kept_name(kind: str, address: str) -> str:
    """The name under which a socket for `address` is stored: a colon would end it, and not every byte is allowed."""
    name = f"{KEPT}{kind}-{quote(address, safe='/[],@*')}"
    if len(name) > NAME_LIMIT:
        name = f"{KEPT}{kind}-{hashlib.sha256(address.encode()).hexdigest()}"
    return name


class Manager:
    """The service manager, if there is one."""

    def __init__(self, address: str) -> None:
        """`address`: as in NOTIFY_SOCKET; a path, or @name in Linux's abstract namespace."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._sock: socket.socket | None = None
        if address.startswith(("/", "@")):
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.settimeout(SEND_TIMEOUT)

    def tell(self, *lines: str, fds: tuple[int, ...] = ()) -> bool:
        """Send one message of these assignments, with copies of `fds`. False: it is lost, or there is no manager."""
        if not lines:
            return True
        if self._sock is None:
            return False
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg(["\n".join(lines).encode()], rights, 0, self._address)
        except OSError as error:
            log.warning("service manager not reached", told=lines[0], error=error.strerror or str(error))
            return False
        return True

    def keep(self, name: str, fd: int) -> None:
        """Let the manager store a copy for the next start."""
        self.tell("FDSTORE=1", f"FDNAME={name}", fds=(fd,))

    def forget(self, name: str) -> None:
        """Let the manager close the descriptors stored under this name."""
        self.tell("FDSTOREREMOVE=1", f"FDNAME={name}")

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
