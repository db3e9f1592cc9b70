"""hsrv as a person starts it: interrupted before it serves, in a terminal that is closed, without standard files."""

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from hsrv.common.errors import ExitCode
from hsrv.supervisor.hands.templates import TEMPLATE_EXIT_TIMEOUT
from tests.integration.conftest import DEADLINE, ROOT, session_of
from tests.integration.wire import eventually, request

GOOD = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""
HANGS = "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(300)\n"
LIFESPAN_HANGS = """
import asyncio, pathlib

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        pathlib.Path("starting").touch()
        await asyncio.sleep(300)
    await answer(scope, receive, send)
"""
BREAKPOINT = """
import asyncio, logging

def stop_here():
    breakpoint()
    logging.error("answered")

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    if scope["path"] == "/thread":
        await asyncio.to_thread(stop_here)
    else:
        stop_here()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""

WAYS = [["--preload", "app"], ["--preload", "none"], ["--reload"]]


class Started:
    """`hsrv start` in `folder`, on the Unix socket app.sock there, in a session of its own."""

    def __init__(
        self, folder: Path, source: str, *options: str, terminal: bool = False, shell: str = ""
    ) -> None:
        """`terminal`: a new one, in whose foreground it runs. `shell`: how a shell starts it, {} being the command."""
        self.folder = folder
        self.is_developing = "--reload" in options
        self.socket = folder / "app.sock"
        (folder / "webshop.py").write_text(source)
        command = [
            sys.executable,
            "-m",
            "hsrv",
            "start",
            "webshop:app",
            "-b",
            f"unix:{self.socket}",
            "-w",
            "1",
        ]
        command += ["--log-format", "json", *options]
        if shell:
            command = ["sh", "-c", shell.format(" ".join(command))]
        self.master, slave = pty.openpty() if terminal else (-1, -1)
        # Ctrl-C counts also where the tests run in the background of a shell, and ignore it.
        begin = "import fcntl, os, signal, sys, termios\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        begin += "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" if terminal else ""
        begin += "os.execvp(sys.argv[1], sys.argv[1:])"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", begin, *command],
                cwd=folder,
                env={**os.environ, "HSRV_RUN_DIR": str(folder / "run"), "PYTHONPATH": str(ROOT)},
                stdin=slave if terminal else subprocess.DEVNULL,
                stdout=slave if terminal else subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        if terminal:
            os.close(slave)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def family(self) -> list[psutil.Process]:
        """All that live."""
        found = []
        for pid in psutil.pids():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if session_of(pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def holds_signals(self) -> bool:
        """Whether it has got as far as to hold TERM back."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        mask = next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1]
        return bool(int(mask, 16) & 1 << (signal.SIGTERM - 1))

    def said(self, event: str) -> bool:
        return f'"event": "{event}"' in self.log

    def serves(self) -> bool:
        return self.said("listening")

    def shown_until(self, end: bytes) -> None:
        """Read what the terminal shows, up to this."""
        shown = b""
        while not shown.endswith(end):
            assert select.select([self.master], [], [], DEADLINE)[0], shown
            shown += os.read(self.master, 1)

    def close_terminal(self) -> None:
        os.close(self.master)
        self.master = -1

    def is_over(self) -> bool:
        """It has ended, and nothing of it is left: no process, no socket file."""
        return self.process.poll() is not None and not self.family() and not self.socket.exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path


@contextmanager
def started(
    folder: Path, source: str, *options: str, terminal: bool = False, shell: str = ""
) -> Iterator[Started]:
    server = Started(folder, source, *options, terminal=terminal, shell=shell)
    try:
        yield server
    finally:
        for process in server.family():
            with suppress(psutil.NoSuchProcess):  # it ended with one before it
                process.kill()
        server.process.kill()
        server.process.wait(DEADLINE)
        if server.master >= 0:
            server.close_terminal()


# before it serves


@pytest.mark.parametrize(
    ("signum", "options"),
    list(zip((signal.SIGTERM, signal.SIGINT, signal.SIGTERM), WAYS, strict=True)),
    ids=["TERM, preload", "INT, no preload", "TERM, development"],
)
def test_a_second_signal_while_the_application_is_imported_leaves_nothing(
    folder: Path, signum: signal.Signals, options: list[str]
) -> None:
    with started(folder, HANGS + GOOD, *options) as server:
        eventually((folder / "importing").exists, "the import is under way")
        server.process.send_signal(signum)
        eventually(lambda: server.said("stopping"), "it has heard of it")
        again = time.monotonic()
        server.process.send_signal(signum)
        eventually(server.is_over, "nothing is left of it")
        if "app" in options:
            assert time.monotonic() - again < TEMPLATE_EXIT_TIMEOUT, "the template is waited for no longer"
        assert "Traceback" not in server.log
        assert server.process.returncode in (ExitCode.OK, ExitCode.FORCED), server.log


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_a_stop_while_the_application_is_imported_is_no_fault(folder: Path, options: list[str]) -> None:
    with started(folder, HANGS.replace("300", "0.5") + GOOD, *options) as server:
        stop_amid(server, folder / "importing")


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_a_stop_during_a_lifespan_that_hangs_does_not_wait_for_it(folder: Path, options: list[str]) -> None:
    with started(folder, LIFESPAN_HANGS + GOOD.replace("app", "answer"), *options) as server:
        began = stop_amid(server, folder / "starting")
        assert time.monotonic() - began < 5
        if "--reload" not in options:  # which gives it a fifth of a second
            assert not server.said("killing")


def stop_amid(server: Started, moment: Path) -> float:
    """When the file is there. The stop must be an ordinary one. When it was asked for."""
    eventually(moment.exists, "that is under way")
    began = time.monotonic()
    server.process.terminate()
    eventually(server.is_over, "it has ended")
    assert server.process.returncode == ExitCode.OK, server.log
    assert '"level": "error"' not in server.log
    assert "Traceback" not in server.log
    return began


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_first_moment_is_no_accident(folder: Path, signum: signal.Signals) -> None:
    with started(folder, GOOD) as server:
        eventually(server.holds_signals, "its first line has run")
        server.process.send_signal(signum)
        eventually(server.is_over, "it has ended")
        assert server.process.returncode == ExitCode.OK
        assert "Traceback" not in server.log
        assert "before anything was started" in server.log


def test_a_reload_in_the_first_moment_waits_until_there_is_something_to_reload(folder: Path) -> None:
    with started(folder, GOOD) as server:
        eventually(server.holds_signals, "its first line has run")
        server.process.send_signal(signal.SIGHUP)
        eventually(server.serves, "it serves")
        eventually(lambda: server.said("reloading"), "and reloads")


def test_what_a_terminal_sends_to_a_template_that_begins_does_not_end_it(folder: Path) -> None:
    with started(folder, GOOD) as server:
        [template] = eventually(
            lambda: [one for one in server.family() if "hsrv.child.templatemain" in command_of(one)],
            "there is one",
        )
        template.send_signal(signal.SIGINT)
        eventually(server.serves, "it serves")
        assert "Traceback" not in server.log


# the terminal


@pytest.mark.parametrize("options", [[], ["--reload"]], ids=" ".join)
def test_the_terminal_is_closed(folder: Path, options: list[str]) -> None:
    with started(folder, GOOD, *options, terminal=True) as server:
        eventually(server.serves, "it serves")
        server.close_terminal()
        eventually(server.is_over, "it has stopped")
        ended_well(server)
        assert server.said("terminal closed")


def test_the_terminal_of_a_shell_that_waits_for_it_is_closed(folder: Path) -> None:
    with started(folder, GOOD, terminal=True, shell="{}; true") as server:
        eventually(server.serves, "it serves")
        server.close_terminal()
        eventually(server.is_over, "it has stopped")


def test_under_nohup_it_goes_on_without_the_terminal(folder: Path) -> None:
    with started(folder, GOOD, terminal=True, shell="exec nohup {}") as server:
        eventually(server.serves, "it serves")
        server.close_terminal()
        server.process.send_signal(signal.SIGHUP)
        server.process.send_signal(signal.SIGUSR1)  # heard after the other one, had that been heard
        eventually(lambda: "nothing to reopen" in server.log, "it hears what comes then")
        assert "terminal closed" not in server.log
        assert "reloading" not in server.log


def test_in_the_background_hup_is_a_reload_also_without_the_terminal(folder: Path) -> None:
    with started(folder, GOOD, terminal=True, shell="set -m; {} & wait") as server:
        eventually(server.serves, "it serves")
        server.close_terminal()
        eventually(lambda: server.process.poll() is not None, "the shell has gone with it")
        supervisor = next(one for one in server.family() if command_of(one)[:1] == ["hsrv: supervisor"])
        supervisor.send_signal(signal.SIGHUP)
        eventually(lambda: server.said("reloading"), "it reloads")
        supervisor.terminate()
        eventually(server.is_over, "it has stopped")


def test_the_first_process_of_an_upgraded_server_passes_on_that_the_terminal_is_closed(folder: Path) -> None:
    with started(folder, GOOD, terminal=True) as server:
        eventually(server.serves, "it serves")
        server.process.send_signal(signal.SIGUSR2)
        eventually(lambda: server.said("keeping the pid"), "the new server has taken over")
        server.close_terminal()
        eventually(server.is_over, "both have stopped")


# the debugger


def test_ctrl_c_after_a_breakpoint_was_left_stops_the_server(folder: Path) -> None:
    with started(folder, BREAKPOINT, terminal=True) as server, asked(server):
        server.shown_until(b"(Pdb) ")
        os.write(server.master, b"c\n")
        eventually(lambda: server.said("answered"), "the request has gone on")
        ctrl_c(server)


@pytest.mark.parametrize(("path", "options"), [*(("/", way) for way in WAYS), ("/thread", [])], ids=str)
def test_ctrl_c_at_the_prompt_of_a_breakpoint_stops_the_server(
    folder: Path, path: str, options: list[str]
) -> None:
    with started(folder, BREAKPOINT, *options, terminal=True) as server, asked(server, path):
        server.shown_until(b"(Pdb) ")
        ctrl_c(server)


@contextmanager
def asked(server: Started, path: str = "/") -> Iterator[None]:
    """While a request of this path runs."""
    eventually(server.serves, "it serves")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(server.socket))
        sock.sendall(request(path))
        yield


def ctrl_c(server: Started) -> None:
    os.write(server.master, b"\x03")
    eventually(server.is_over, "it has ended")
    ended_well(server)


def ended_well(server: Started) -> None:
    """In development a process has half a second, which this machine may not give it."""
    if not server.is_developing:
        assert server.process.returncode == ExitCode.OK, server.log
        assert not server.said("killing"), server.log


# descriptors 0 to 2


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_what_is_missing_of_the_standard_files_is_the_null_device_everywhere(
    folder: Path, closed: str
) -> None:
    with started(folder, GOOD, shell=f"exec {{}} {closed}") as server:
        eventually(server.socket.exists, "it has begun")
        eventually(lambda: named(server, "worker-1 g1") and named(server, "pool-1 g1"), "it serves")
        for process in server.family():
            for fd in range(3):
                assert Path(f"/proc/{process.pid}/fd/{fd}").readlink() in (
                    Path("/dev/null"),
                    server.folder / "log",
                )
        first = named(server, "worker-1 g1")
        eventually(lambda: serves_socket(server), "it answers")
        server.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: named(server, "worker-1 g2") and not any(p.is_running() for p in first), "it reloads"
        )
        server.process.terminate()
        eventually(server.is_over, "it has stopped")
        assert server.process.returncode == ExitCode.OK
        assert "SIGABRT" not in server.log


def test_a_command_without_standard_files_ends_with_its_code(folder: Path) -> None:
    for command, code in (("version", ExitCode.OK), ("start nowhere:app", ExitCode.APP)):
        shell = f"{sys.executable} -m hsrv {command} <&- >&- 2>&-"
        done = subprocess.run(["sh", "-c", shell], cwd=folder, timeout=DEADLINE, check=False)
        assert done.returncode == code


def named(server: Started, title: str) -> list[psutil.Process]:
    return [one for one in server.family() if command_of(one)[:1] == [f"hsrv: {title}"]]


def command_of(process: psutil.Process) -> list[str]:
    """[] when it has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def serves_socket(server: Started) -> bool:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(server.socket))) as client:
        return client.get("http://app/").text == "ok"
