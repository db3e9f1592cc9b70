"""Writes to what nobody reads: none of them waits, and none is lost without being counted.

A write that waits after all is ended by the time limit of each test.
"""

import fcntl
import os
import pty
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import PIPE_BUF

import pytest

from hsrv.logs import output
from hsrv.logs.output import PATIENCE, LineWriter

pytestmark = pytest.mark.timeout(20)

LINE = b"x" * 999 + b"\n"
ENOUGH = 3000
"""Lines of this size that no pipe, terminal or socket holds."""


class Place:
    """Something that lines are written to: `fd`, as the shell would give it to us."""

    def __init__(self, fd: int, read: Callable[[], bytes]) -> None:
        self.fd = fd
        self.read = read

    def read_all(self) -> bytes:
        data = b""
        while found := self.read():
            data += found
        return data


def reader_of(fd: int) -> Callable[[], bytes]:
    os.set_blocking(fd, False)

    def read() -> bytes:
        try:
            return os.read(fd, 1 << 20)
        except BlockingIOError:
            return b""

    return read


@contextmanager
def closing(*fds: int) -> Iterator[None]:
    try:
        yield
    finally:
        for fd in fds:
            try:
                os.close(fd)
            except OSError:
                continue  # the test closed it


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    with closing(read, write):
        yield read, write


@pytest.fixture(params=["pipe", "a pipe of another user", "the same on an old kernel", "socket", "terminal"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "socket":
        near, far = socket.socketpair()
        with near, far:
            yield Place(near.fileno(), reader_of(far.fileno()))
        return
    read, write = pty.openpty() if request.param == "terminal" else os.pipe()
    if "user" in request.param or "kernel" in request.param:
        monkeypatch.setattr(output, "_reopened", lambda fd: -1)
    if "kernel" in request.param:
        monkeypatch.delattr(os, "RWF_NOWAIT")
    with closing(read, write):
        yield Place(write, reader_of(read))


def test_nobody_reads_and_nobody_waits(place: Place) -> None:
    writer = LineWriter(place.fd)
    told: list[int] = []
    writer.on_flow = told.append
    for _ in range(ENOUGH):
        writer.write(LINE)
    assert writer.dropped > 100
    assert not told
    assert os.get_blocking(place.fd), "others write there too"

    place.read_all()
    writer.write(b"again\n")
    assert told == [writer.dropped]
    assert place.read_all().replace(b"\r", b"").endswith(b"again\n")
    writer.write(b"again\n")
    assert told == [writer.dropped], "once"


def test_a_line_that_is_longer_than_what_fits_at_once_is_written_whole(place: Place) -> None:
    writer = LineWriter(place.fd)
    writer.write(b"x" * 79 * 80 + b"\n")
    data = place.read_all()
    assert data.count(b"x") == 79 * 80
    assert data.endswith(b"\n")
    assert writer.dropped == 0


def test_a_reader_that_is_too_slow_all_the_time_is_not_told_so_in_every_line(pipe: tuple[int, int]) -> None:
    read = reader_of(pipe[0])
    writer = LineWriter(pipe[1])
    told: list[int] = []
    writer.on_flow = told.append
    for _ in range(3):
        while not writer._untold:
            writer.write(LINE)
        read()
        read()
        writer.write(LINE)
    assert len(told) == 1
    writer.tell()
    assert len(told) == 2, "at the end what is left"
    assert sum(told) == writer.dropped


def test_a_notice_that_is_lost_as_well_is_not_forgotten(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    told: list[int] = []

    def tell(lost: int) -> None:
        told.append(lost)
        writer.write(LINE)

    writer.on_flow = tell
    while not writer.dropped:
        writer.write(LINE)
    writer.tell()
    writer.tell()
    assert told == [1, 1]


def test_a_burst_finds_room_in_a_pipe(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    for _ in range(500):
        writer.write(LINE)
    assert writer.dropped == 0


def test_a_terminal_that_shows_a_long_text_slowly_gets_it_whole_and_one_that_stopped_gets_no_time() -> None:
    ours, theirs = pty.openpty()
    with closing(ours, theirs):
        reader = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "while True: __import__('time').sleep(.001) or __import__('os').read(0, 4096)",
            ],
            stdin=ours,
        )
        try:
            writer = LineWriter(theirs)
            writer.write(b"x" * 40_000 + b"\n")
            assert writer.dropped == 0
        finally:
            reader.kill()
            reader.wait()
        termios.tcflow(theirs, termios.TCOOFF)
        began = time.monotonic()
        for _ in range(100):
            writer.write(LINE)
        assert writer.dropped == 100
        assert time.monotonic() - began < 5 * PATIENCE


def test_what_the_application_says_of_sockets_is_not_said_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    with near, far:
        socket.setdefaulttimeout(5)
        try:
            writer = LineWriter(near.fileno())
        finally:
            socket.setdefaulttimeout(None)
        assert os.get_blocking(near.fileno())
        began = time.monotonic()
        while not writer.dropped:
            writer.write(LINE)
        assert time.monotonic() - began < 4


def test_a_line_is_one_write(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    writer.write(b"one\n")
    writer.write(b"two\n")
    assert os.read(pipe[0], 100) == b"one\ntwo\n"
    assert writer.dropped == 0


def test_a_reader_that_is_gone_costs_the_line(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    os.close(pipe[0])
    writer.write(b"one\n")
    LineWriter(pipe[1]).write(b"two\n")
    assert writer.dropped == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_disk_costs_the_line() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with closing(fd):
        writer = LineWriter(fd)
        writer.write(b"one\n")
    assert writer.dropped == 1


def test_a_descriptor_that_is_closed_costs_the_line() -> None:
    fd = os.dup(0)
    os.close(fd)
    writer = LineWriter(fd)
    writer.write(b"one\n")
    assert writer.dropped == 1


def test_a_file_is_written_by_the_description_that_all_share(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    with closing(fd):
        writer = LineWriter(fd)
        writer.write(b"one\n")
        os.write(fd, b"of the application\n")
        writer.write(b"two\n")
    assert path.read_bytes() == b"one\nof the application\ntwo\n"


def test_a_line_written_in_part_does_not_spoil_the_next(pipe: tuple[int, int]) -> None:
    read, write = pipe
    writer = LineWriter(write)
    size = fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 8192) if hasattr(fcntl, "F_SETPIPE_SZ") else 65536
    writer.write(b"x" * (size + PIPE_BUF) + b"\n")
    assert writer.dropped == 1, "written in part"
    writer.write(b"lost\n")
    assert writer.dropped == 2, "no room"
    assert set(os.read(read, size)) == {ord("x")}
    writer.write(b"next\n")
    assert os.read(read, size) == b"\nnext\n"
    writer.write(b"after\n")
    assert os.read(read, size) == b"after\n"
    assert writer.dropped == 2


def test_it_is_known_when_a_descriptor_leads_elsewhere(pipe: tuple[int, int], tmp_path: Path) -> None:
    writer = LineWriter(pipe[1])
    assert writer.is_for(pipe[1])
    with (tmp_path / "log").open("wb") as file:
        os.dup2(file.fileno(), pipe[1])
    assert not writer.is_for(pipe[1])


def test_our_own_description_goes_when_the_writer_goes(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    own = writer.own
    os.fstat(own)
    del writer
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(own)


SCRIPT = """
import os, signal, sys
from hsrv.logs import output
mine = lambda *_: None
signal.signal(signal.SIGALRM, mine)
signal.setitimer(signal.ITIMER_REAL, 1000)
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(1, True)
print("nobody reads this")
output.flush()
output.flush(last=True)
assert signal.getsignal(signal.SIGALRM) is mine
assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
"""


def test_what_was_printed_and_nobody_reads_keeps_no_process_from_its_end(pipe: tuple[int, int]) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], stdout=pipe[1], env=env, timeout=15, check=False)
    assert done.returncode == 0


def test_what_was_printed_is_flushed(pipe: tuple[int, int]) -> None:
    script = "import os; from hsrv.logs import output; print('kept'); output.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", script], stdout=pipe[1], timeout=15, check=True)
    assert os.read(pipe[0], 100) == b"kept\n"
