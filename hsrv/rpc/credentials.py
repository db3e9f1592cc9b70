"""The credentials of the peer of a Unix socket, from the kernel."""

import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

_UCRED: Final = struct.Struct("3i")
"""Linux, struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)."""

_XUCRED: Final = struct.Struct("=IIh2x16I")
"""macOS, struct xucred: version, uid, number of groups, groups (unix(4), LOCAL_PEERCRED)."""

_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1
_LOCAL_PEERPID: Final = 2


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of the process that connected, at that time."""

    pid: int
    uid: int

    def may_operate(self) -> bool:
        """Whether it belongs to root or to the user of this process."""
        return self.uid in (0, os.geteuid())


def peer_credentials(sock: socket.socket) -> Credentials:
    """Raises OSError."""
    if hasattr(socket, "SO_PEERCRED"):
        pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return Credentials(pid, uid)
    uid = _XUCRED.unpack(sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))[1]
    return Credentials(sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID), uid)
