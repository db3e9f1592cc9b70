"""`--bind`: what to listen on. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TcpBind:
    host: str
    port: int
    """0: any free one."""


@dataclass(frozen=True)
class UnixBind:
    path: str


@dataclass(frozen=True)
class FdBind:
    fd: int


Bind = TcpBind | UnixBind | FdBind

ALLOWED = "HOST:PORT, [V6]:PORT, unix:PATH or fd:N"


def parse_bind(text: str) -> Bind:
    """Raises ValueError with what is allowed."""
    if text.startswith("unix:"):
        if not text[5:]:
            raise ValueError(f"no path after unix:; allowed: {ALLOWED}")
        return UnixBind(text[5:])
    if text.startswith("fd:"):
        if not text[3:].isdecimal():
            raise ValueError(f"no number after fd:; allowed: {ALLOWED}")
        return FdBind(int(text[3:]))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"no port from 0 to 65535; allowed: {ALLOWED}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address stands in brackets; allowed: {ALLOWED}")
    return TcpBind(host or "0.0.0.0", int(port))
