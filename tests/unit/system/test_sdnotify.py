"""What a service manager sets up, and what it is told."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hsrv.system.sdnotify import KEPT, NAME_LIMIT, VARIABLES, Manager, ManagerEnvironment, kept_name

ME = 4711


def taken(**environ: str) -> ManagerEnvironment:
    return ManagerEnvironment.take(environ, ME)


def test_nothing_set_up() -> None:
    assert taken() == ManagerEnvironment()


def test_everything_is_taken_out_of_the_environment() -> None:
    environ = {**dict.fromkeys(VARIABLES, "1"), "OTHER": "1"}
    ManagerEnvironment.take(environ, ME)
    assert environ == {"OTHER": "1"}


@pytest.mark.parametrize(
    ("environ", "sockets"),
    [
        (
            {"LISTEN_PID": str(ME), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:admin"},
            (("web", 3), ("admin", 4)),
        ),
        ({"LISTEN_PID": str(ME), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web"}, (("web", 3), ("unknown", 4))),
        ({"LISTEN_PID": str(ME), "LISTEN_FDS": "1"}, (("unknown", 3),)),
        ({"LISTEN_PID": str(ME), "LISTEN_FDS": "1", "LISTEN_FDNAMES": ""}, (("unknown", 3),)),
        ({"LISTEN_PID": str(ME), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b"}, (("a", 3),)),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, ()),
        ({"LISTEN_FDS": "1"}, ()),
        ({"LISTEN_PID": str(ME), "LISTEN_FDS": "-1"}, ()),
        ({"LISTEN_PID": str(ME), "LISTEN_FDS": "one"}, ()),
    ],
)
def test_sockets_that_are_passed(environ: dict[str, str], sockets: tuple[tuple[str, int], ...]) -> None:
    assert taken(**environ).sockets == sockets


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(ME)}, 2.5),
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_who_is_watched(environ: dict[str, str], seconds: float) -> None:
    assert taken(**environ).watchdog == seconds


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({"FDSTORE": "4", "NOTIFY_SOCKET": "/n"}, True),
        ({"FDSTORE": "0", "NOTIFY_SOCKET": "/n"}, False),
        ({"NOTIFY_SOCKET": "/n"}, False),
        ({"FDSTORE": "4"}, False),
    ],
)
def test_whether_descriptors_are_kept(environ: dict[str, str], kept: bool) -> None:
    assert taken(**environ).store is kept


@pytest.mark.parametrize(
    "address", ["127.0.0.1:80", "[::1]:80", "unix:/run/a b\u00e9.sock", "unix:" + "x" * 400]
)
def test_a_name_is_one_that_a_manager_takes(address: str) -> None:
    name = kept_name("bind", address)
    assert name.startswith(KEPT)
    assert len(name) <= NAME_LIMIT
    assert all(" " <= letter < "\x7f" and letter != ":" for letter in name)
    assert name != kept_name("admin", address)
    assert name != kept_name("bind", address + "x")


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@hsrv-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0"))
        sock.settimeout(5)
        yield address, sock


def test_telling_and_keeping(heard: tuple[str, socket.socket]) -> None:
    address, sock = heard
    with closing(Manager(address)) as manager, socket.socket() as kept:
        manager.tell("READY=1", "STATUS=all is well")
        assert sock.recv(4096) == b"READY=1\nSTATUS=all is well"
        manager.keep("name", kept.fileno())
        data, fds, _, _ = socket.recv_fds(sock, 4096, 4)
        assert data == b"FDSTORE=1\nFDNAME=name"
        [copy] = fds
        assert os.fstat(copy).st_ino == os.fstat(kept.fileno()).st_ino
        os.close(copy)
        manager.forget("name")
        assert sock.recv(4096) == b"FDSTOREREMOVE=1\nFDNAME=name"
        manager.tell()
        manager.tell("STOPPING=1")
        assert sock.recv(4096) == b"STOPPING=1", "an empty message is none"


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/at/all"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    with closing(Manager(address)) as manager:
        manager.tell("READY=1")
    manager.tell("READY=1")
