"""The listening sockets of the server, from bind to unlink."""

import contextlib
import ctypes
import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from hsrv.common.errors import BindError
from hsrv.ipc.messages import ListenerInfo
from hsrv.ipc.socketfile import remove_socket_file
from hsrv.logs.logging import get_logger
from hsrv.options.bindspec import FdBind, NamedBind, TcpBind, UnixBind, parse_bind
from hsrv.supervisor.sockets.inheritance import Inheritance
from hsrv.system.sdnotify import kept_name

CONNECT_TIMEOUT: Final = 1.0
"""Seconds to find out whether a server still listens on an existing socket file."""

UNSENT_LIMIT: Final = 1024 * 1024
"""Unsent bytes that the kernel accepts for a client (TCP_NOTSENT_LOWAT); accepted sockets inherit it. Without it, it
would accept 4 MB for each client that reads slowly. With less, a response of a megabyte needs several writes that wait
for the client: 256 KiB halve the rate. A stream has less (`hsrv.net.conn`)."""

_SO_ATTACH_FILTER: Final = 26
_NO_NEW_CONNECTIONS: Final = (
    (0x30, 0, 0, 13),  # load the byte of TCP flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # let everything else pass
)
"""A classic BPF program (code, jump if true, jump if false, operand) over the TCP header."""

log = get_logger("hsrv.supervisor")


@dataclass(frozen=True)
class Listener:
    info: ListenerInfo
    sock: socket.socket
    shared: bool = False
    """A service manager or another server has opened it, and may let others listen on it after this one."""
    name: str = ""
    """Under which it is passed to the next server (`hsrv.system.sdnotify.kept_name`)."""
    keepable: bool = True
    """A service manager may store it for the next start. Sockets that it opened itself it has anyway."""


def lent(listener: Listener) -> Listener:
    """A listener that another server uses too: closing it doesn't end the address."""
    info = msgspec.structs.replace(listener.info, unix_inode=None)
    return replace(listener, info=info, shared=True)


def open_listeners(
    binds: Sequence[str],
    *,
    backlog: int,
    unix_mode: int,
    owner: tuple[int, int] | None = None,
    inherited: Inheritance | None = None,
    kind: str = "bind",
) -> list[Listener]:
    """Bind and listen on all, or on none. Raises BindError. `owner`: user and group of socket files, if not ours.
    `inherited`: what is open already. `kind`: the option that names them, part of their stored name."""
    inherited = Inheritance() if inherited is None else inherited
    listeners: list[Listener] = []
    try:
        for text in binds:
            name = kept_name(kind, text)
            found = take_inherited(inherited, name, backlog)
            found = found or _open(text, backlog, unix_mode, owner, inherited)
            ours = isinstance(parse_bind(text), TcpBind | UnixBind)
            listeners += (replace(listener, name=name, keepable=ours) for listener in found)
    except BaseException:
        close_listeners(listeners)
        raise
    return listeners


def take_inherited(inherited: Inheritance, name: str, backlog: int) -> list[Listener]:
    """The inherited sockets with this name."""
    return [_adopt(fd, f"the socket named {name}", backlog) for fd in inherited.take(name)]


def _open(
    text: str, backlog: int, unix_mode: int, owner: tuple[int, int] | None, inherited: Inheritance
) -> list[Listener]:
    bind = parse_bind(text)
    if isinstance(bind, TcpBind):
        return _open_tcp(bind, backlog)
    if isinstance(bind, UnixBind):
        return [_open_unix(bind.path, backlog, unix_mode, owner)]
    if isinstance(bind, FdBind):
        inherited.release(bind.fd)
        return [_adopt(bind.fd, f"--bind {text}", backlog)]
    return _open_named(bind, inherited, backlog)


def _open_named(bind: NamedBind, inherited: Inheritance, backlog: int) -> list[Listener]:
    known = sorted(set(inherited.names))
    found = take_inherited(inherited, bind.name, backlog)
    if not found:
        passed = f"those that were: {', '.join(known)}" if known else "none were"
        raise BindError(f"--bind fd://{bind.name}: no socket of this name was passed to us ({passed})")
    return found


def _open_tcp(bind: TcpBind, backlog: int) -> list[Listener]:
    """On all addresses of the host that this machine has; on the first one if the system picks the port."""
    where = f"--bind {bind.host}:{bind.port}"
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise BindError(f"{where}: unknown host ({error})") from error
    listeners: list[Listener] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            listeners.append(_listen_tcp(family, address, backlog))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                close_listeners(listeners)
                raise BindError(f"{where}: {_advice(error, bind.port)}") from error
            missing = error  # such as ::1 of localhost, where IPv6 is off
        else:
            if bind.port == 0:
                break
    if missing is not None and not listeners:
        raise BindError(f"{where}: {_advice(missing, bind.port)}") from missing
    return listeners


def _listen_tcp(family: socket.AddressFamily, address: tuple[Any, ...], backlog: int) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # for those that are accepted: they inherit it
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_LIMIT)
        sock.bind(address)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    host, port = sock.getsockname()[:2]
    return Listener(ListenerInfo(url=_tcp_url(host, port), address=(host, port)), sock)


def _tcp_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _advice(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use; stop the other server, or choose another port (0 picks a free one)"
    if error.errno == errno.EACCES:
        return (
            f"no permission; ports below 1024 need a privilege (CAP_NET_BIND_SERVICE), {port} is one of them"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return os.strerror(error.errno or 0)


def _open_unix(path: str, backlog: int, mode: int, owner: tuple[int, int] | None) -> Listener:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)  # no one may connect, even for a moment, whom the mode forbids
    try:
        sock.bind(path)
        if owner is not None:
            _give(path, owner)
        sock.listen(backlog)
        inode = Path(path).lstat().st_ino
    except OSError as error:
        sock.close()
        raise BindError(f"--bind unix:{path}: {_unix_advice(error, path)}") from error
    finally:
        os.umask(before)
    sock.setblocking(False)
    return Listener(ListenerInfo(url=f"unix:{path}", address=(path, None), unix_inode=inode), sock)


def _give(path: str, owner: tuple[int, int]) -> None:
    """Raises OSError, and then the file is gone."""
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except OSError:
        Path(path).unlink()
        raise


def _unix_advice(error: OSError, path: str) -> str:
    if error.errno == errno.ENOENT:
        return f"the directory {Path(path).parent} does not exist"
    if error.errno is None:
        return str(error)  # "AF_UNIX path too long"
    return os.strerror(error.errno)


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on. Raises BindError for one that is in use, and for other
    files."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise BindError(f"--bind unix:{path}: a file that is no socket is in the way")
    except OSError:
        return  # nothing there, or bind() will say what is wrong
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_TIMEOUT)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except OSError as error:
            raise BindError(f"--bind unix:{path}: {error}") from error
    raise BindError(f"--bind unix:{path}: another server listens there")


def _adopt(fd: int, where: str, backlog: int) -> Listener:
    """A socket that was opened before. `where`: what it is, for messages."""
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise BindError(f"{where}: no open socket has this descriptor ({error})") from error
    try:
        sock.set_inheritable(False)  # processes that the application starts must not keep it open
        _check_kind(sock, where)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise BindError(f"{where}: can't listen ({os.strerror(error.errno or 0)})") from error
    except BindError:
        sock.close()
        raise
    sock.setblocking(False)
    return Listener(_info_of(sock), sock, shared=True)


def _check_kind(sock: socket.socket, where: str) -> None:
    """Raises BindError for a socket that can't accept."""
    if sock.type != socket.SOCK_STREAM:
        raise BindError(f"{where}: is no stream socket (ListenStream= makes one)")
    try:
        sock.getpeername()
    except OSError:
        return
    raise BindError(f"{where}: is a connection and not a listening socket (Accept=no makes one)")


def _info_of(sock: socket.socket) -> ListenerInfo:
    if sock.family == socket.AF_UNIX:
        name = sock.getsockname()
        path = name if isinstance(name, str) else f"@{os.fsdecode(name[1:])}"  # Linux's abstract namespace
        return ListenerInfo(url=f"unix:{path}", address=(path, None))
    host, port = sock.getsockname()[:2]
    return ListenerInfo(url=_tcp_url(host, port), address=(host, port))


def stop_new_connections(listeners: Sequence[Listener]) -> None:
    """Let no new connection begin, while those that wait in the queue can still be accepted.

    Closing the last copy of a listening socket resets what its queue holds, and while workers empty the
    queue it would fill again. So opening segments (SYN) are dropped from now on: a client repeats its own
    after a second and is then refused, or reaches another server. Linux; elsewhere the last few may be
    reset. A shared socket is left alone: its queue belongs to the next server, and a filter would stay.
    """
    for listener in listeners:
        if listener.shared:
            continue
        if listener.sock.family == socket.AF_UNIX:
            remove_socket_file(listener.info)
        elif sys.platform.startswith("linux"):
            _drop_syn(listener.sock)


def refuse_connections(listeners: Sequence[Listener]) -> None:
    """Stop listening, in every process that has a copy: new clients are refused at once, and can reach another server.
    Until then their segments were dropped, and they waited. Connections that are still in the queue are reset."""
    for listener in listeners:
        if not listener.shared and listener.sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # closed already
                listener.sock.shutdown(socket.SHUT_RDWR)


def _drop_syn(sock: socket.socket) -> None:
    program = b"".join(struct.pack("HBBI", *line) for line in _NO_NEW_CONNECTIONS)
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("HP", len(_NO_NEW_CONNECTIONS), ctypes.addressof(buffer))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError as error:
        log.debug("socket filter refused", error=str(error))


def close_listeners(listeners: Sequence[Listener]) -> None:
    """Close, and remove socket files that are still ours."""
    for listener in listeners:
        remove_socket_file(listener.info)
        listener.sock.close()
