"""Real sockets on loopback."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hsrv.common.errors import BindError
from hsrv.supervisor.sockets.listeners import Listener, close_listeners, open_listeners, stop_new_connections

Open = Callable[..., list[Listener]]
LINUX = sys.platform.startswith("linux")
REFUSED_WITHIN = 0.3
"""Seconds in which a connection over loopback would have been made a thousand times."""


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open listeners that are closed after the test."""
    everyone: list[Listener] = []

    def open_(*binds: str, mode: int = 0o660) -> list[Listener]:
        listeners = open_listeners(binds, backlog=16, unix_mode=mode)
        everyone.extend(listeners)
        return listeners

    yield open_
    close_listeners(everyone)


def port_of(listener: Listener) -> int:
    port = listener.info.address[1]
    assert port is not None
    return port


def exchange(listener: Listener, client: socket.socket) -> bytes:
    """Accept the waiting connection and let it say hello."""
    listener.sock.settimeout(5)
    accepted, _ = listener.sock.accept()
    with accepted:
        client.sendall(b"hello")
        return accepted.recv(5)


# TCP


def test_connections_inherit_that_small_segments_are_not_delayed(opened: Open) -> None:
    [listener] = opened("127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", port_of(listener)), timeout=5):
        listener.sock.settimeout(5)
        with listener.sock.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_port_zero_is_a_free_port_shown_in_the_url(opened: Open) -> None:
    [listener] = opened("127.0.0.1:0")
    assert port_of(listener) > 0
    assert listener.info.url == f"http://127.0.0.1:{port_of(listener)}"
    with socket.create_connection(("127.0.0.1", port_of(listener)), timeout=5) as client:
        assert exchange(listener, client) == b"hello"


def test_an_ipv6_address_stands_in_brackets_in_the_url(opened: Open) -> None:
    [listener] = opened("[::1]:0")
    assert listener.info.url == f"http://[::1]:{port_of(listener)}"
    assert listener.info.address[0] == "::1"


def test_a_host_name_listens_on_all_of_its_addresses(opened: Open) -> None:
    [first] = opened("127.0.0.1:0")
    port = port_of(first)
    close_listeners([first])
    listeners = opened(f"localhost:{port}")
    found = {entry[4][0] for entry in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
    assert {listener.info.address[0] for listener in listeners} == found
    assert {port_of(listener) for listener in listeners} == {port}


def test_a_host_name_with_a_free_port_is_one_listener(opened: Open) -> None:
    assert len(opened("localhost:0")) == 1


def test_listeners_are_closed_on_exec_and_do_not_block(opened: Open, tmp_path: Path) -> None:
    for listener in opened("127.0.0.1:0", f"unix:{tmp_path / 'a.sock'}"):
        assert not listener.sock.get_inheritable()
        assert not listener.sock.getblocking()


def test_an_address_in_use_says_what_to_do(opened: Open) -> None:
    [listener] = opened("127.0.0.1:0")
    with pytest.raises(BindError, match=r"in use.*0 picks a free one"):
        opened(f"127.0.0.1:{port_of(listener)}")


def test_an_address_of_another_machine_is_refused(opened: Open) -> None:
    with pytest.raises(BindError, match="no such address"):
        opened("192.0.2.1:0")


def test_an_unknown_host_is_refused(opened: Open) -> None:
    with pytest.raises(BindError, match="unknown host"):
        opened("no-such-host.invalid:8000")


UNPRIVILEGED = """
import encodings.idna, os  # and all else, while the files can be read
from hsrv.supervisor.sockets.listeners import open_listeners
from hsrv.common.errors import BindError
os.setuid(65534)
try:
    open_listeners(["127.0.0.1:81"], backlog=1, unix_mode=0)
except BindError as error:
    print(error)
"""


def test_a_port_without_permission_says_which_privilege() -> None:
    if os.geteuid() != 0 or not LINUX or unprivileged_ports() <= 81:
        pytest.skip("needs root, to give it up, and privileged ports")
    command = [sys.executable, "-c", UNPRIVILEGED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert "CAP_NET_BIND_SERVICE" in done.stdout


def unprivileged_ports() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


def test_all_or_none(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with pytest.raises(BindError):
        opened(f"unix:{path}", "192.0.2.1:0")
    assert not path.exists()


# Unix


def test_a_unix_socket_has_its_mode_from_the_start(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    before = os.umask(0o777)
    try:
        [listener] = opened(f"unix:{path}", mode=0o620)
        assert os.umask(0o777) == 0o777, "the umask is back"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o620
    assert listener.info.unix_inode == path.stat().st_ino
    assert listener.info.url == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert exchange(listener, client) == b"hello"


def test_a_stale_socket_file_is_replaced(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    [listener] = opened(f"unix:{path}")
    assert listener.info.unix_inode == path.stat().st_ino


def test_a_live_socket_file_is_left_to_its_server(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    opened(f"unix:{path}")
    with pytest.raises(BindError, match="another server listens there"):
        opened(f"unix:{path}")
    assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(BindError, match="no socket is in the way"):
        opened(f"unix:{path}")
    assert path.read_text() == "precious"


def test_a_missing_directory_is_named(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(BindError, match="nowhere does not exist"):
        opened(f"unix:{tmp_path / 'nowhere' / 'a.sock'}")


def test_a_path_too_long_for_a_socket_is_refused(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(BindError, match="too long"):
        opened(f"unix:{tmp_path / ('x' * 200)}")


def test_closing_removes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    close_listeners(open_listeners([f"unix:{path}"], backlog=1, unix_mode=0o660))
    assert not path.exists()


def test_closing_leaves_the_file_of_another_server(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    mine = opened(f"unix:{path}")
    path.rename(tmp_path / "mine.sock")
    opened(f"unix:{path}")
    close_listeners(mine)
    assert path.exists()


# inherited descriptors


def test_an_inherited_socket_is_taken_over(opened: Open) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    given.set_inheritable(True)
    port = given.getsockname()[1]
    [listener] = opened(f"fd:{given.detach()}")
    assert listener.shared
    assert listener.info.url == f"http://127.0.0.1:{port}"
    assert not listener.sock.get_inheritable(), "what the application starts must not keep it open"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        assert exchange(listener, client) == b"hello"


def test_the_file_of_an_inherited_socket_is_not_ours_to_remove(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(path))
    listeners = opened(f"fd:{given.detach()}")
    assert listeners[0].info.url == f"unix:{path}"
    stop_new_connections(listeners)
    close_listeners(listeners)
    assert path.exists()


@pytest.mark.skipif(not LINUX, reason="abstract names are Linux's")
def test_an_inherited_socket_may_have_an_abstract_name(opened: Open) -> None:
    given = socket.socket(socket.AF_UNIX)
    given.bind(f"\0hsrv-test-{os.getpid()}")
    [listener] = opened(f"fd:{given.detach()}")
    assert listener.info.url == f"unix:@hsrv-test-{os.getpid()}"


def test_a_descriptor_that_is_no_socket_is_refused(opened: Open, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        with pytest.raises(BindError, match=f"fd:{file.fileno()}: no open socket"):
            opened(f"fd:{file.fileno()}")
        file.write("still open")


def test_a_socket_that_can_not_listen_is_refused(opened: Open) -> None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises(BindError, match="no stream socket"):
        opened(f"fd:{datagrams.detach()}")


# stopping


@pytest.mark.skipif(not LINUX, reason="needs socket filters")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_after_the_stop_no_connection_begins_and_queued_ones_are_accepted(opened: Open, host: str) -> None:
    listeners = opened(f"[{host}]:0" if ":" in host else f"{host}:0")
    address = (host, port_of(listeners[0]))
    with socket.create_connection(address, timeout=5) as queued:
        stop_new_connections(listeners)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=REFUSED_WITHIN)
        assert exchange(listeners[0], queued) == b"hello"


@pytest.mark.skipif(not LINUX, reason="needs socket filters")
def test_after_the_stop_an_established_connection_goes_on(opened: Open) -> None:
    listeners = opened("127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", port_of(listeners[0])), timeout=5) as client:
        listeners[0].sock.settimeout(5)
        accepted, _ = listeners[0].sock.accept()
        stop_new_connections(listeners)
        with accepted:
            client.sendall(b"x" * 100)
            assert accepted.recv(100, socket.MSG_WAITALL) == b"x" * 100
            accepted.sendall(b"y")
            assert client.recv(1) == b"y"


def test_a_shared_socket_goes_on_accepting_for_the_next_server(opened: Open) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    with closing(given.dup()) as other:
        stop_new_connections(opened(f"fd:{given.detach()}"))
        with socket.create_connection(other.getsockname(), timeout=5):
            other.settimeout(5)
            other.accept()[0].close()


def test_after_the_stop_a_unix_socket_has_no_file_and_queued_connections_are_accepted(
    opened: Open, tmp_path: Path
) -> None:
    path = tmp_path / "a.sock"
    listeners = opened(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as queued:
        queued.connect(str(path))
        stop_new_connections(listeners)
        assert not path.exists()
        assert exchange(listeners[0], queued) == b"hello"
