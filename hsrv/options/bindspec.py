"""`--bind`: parse an address to listen on. Pure."""

from typing import Final

import msgspec


class TcpBind(msgspec.Struct, frozen=True):
    host: str
    port: int
    """0: any free one."""


class UnixBind(msgspec.Struct, frozen=True):
    path: str


class FdBind(msgspec.Struct, frozen=True):
    fd: int


class NamedBind(msgspec.Struct, frozen=True):
    name: str
    """Name of the sockets that a service manager passes (LISTEN_FDNAMES)."""


Bind = TcpBind | UnixBind | FdBind | NamedBind

ALLOWED: Final = "HOST:PORT, [V6]:PORT, unix:PATH, fd:N or fd://NAME"

GREATEST_FD: Final = 2**31 - 1


def parse_bind(text: str) -> Bind:
    """Raises ValueError that says what is allowed."""
    if "\0" in text:
        raise ValueError("contains NUL")
    if text.startswith("unix:"):
        if not text[5:]:
            raise ValueError(f"no path after unix:; allowed: {ALLOWED}")
        return UnixBind(text[5:])
    if text.startswith("fd:"):
        return _parse_fd(text[3:])
    if "/" in text:
        raise ValueError(f"neither a URL nor a plain path; allowed: {ALLOWED}")
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"no port from 0 to 65535; allowed: {ALLOWED}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address needs brackets; allowed: {ALLOWED}")
    return TcpBind(host or "0.0.0.0", int(port))


def _parse_fd(text: str) -> Bind:
    if text.startswith("//"):
        if not text[2:]:
            raise ValueError(f"no name after fd://; allowed: {ALLOWED}")
        return NamedBind(text[2:])
    if not text.isdecimal() or int(text) > GREATEST_FD:
        raise ValueError(f"no number after fd:; allowed: {ALLOWED}")
    return FdBind(int(text))
