"""A real template process over its channel; its children are stand-ins."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from hsrv.board import stacks
from hsrv.board.scoreboard import new_board
from hsrv.common.errors import ExitCode
from hsrv.common.terms import Identity, Preload, Role
from hsrv.ipc.channel import Channel, ChannelClosed
from hsrv.ipc.messages import (
    Boot,
    Exited,
    Fork,
    Forked,
    FromTemplate,
    PreloadUnsafe,
    Quit,
    TemplateFailed,
    TemplateReady,
    decode_from_template,
    encode,
)
from hsrv.options.config import Config
from hsrv.supervisor.sockets.listeners import Listener, close_listeners, open_listeners

ROOT = Path(__file__).parent.parent.parent.parent
DEADLINE = 20.0
APP = "async def app(scope, receive, send): ...\n"
WORKER = Identity(Role.WORKER, 1, 3, leader=True)
POOL = Identity(Role.POOL, 1, 3)
M = TypeVar("M", bound=FromTemplate)


class Child:
    """The supervisor's end of a stand-in's control socket."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.pid = pid
        self.sock = sock
        self.sock.settimeout(DEADLINE)
        self.lines = sock.makefile("r")

    def tell(self, command: str) -> None:
        self.sock.sendall(f"{command}\n".encode())

    def facts(self) -> dict[str, Any]:
        self.tell("facts")
        facts: dict[str, Any] = json.loads(self.lines.readline())
        return facts

    def close(self) -> None:
        self.lines.close()
        self.sock.close()


class Running:
    """A template and the supervisor's side of it."""

    def __init__(self, folder: Path, config: Config, listeners: list[Listener]) -> None:
        self.config = config
        self.listeners = listeners
        self.pairs = (*Channel.pair(), *Channel.pair())
        self.channel, theirs = Channel.pair()
        self.children: list[Child] = []
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.unit.child.stand_in_template", str(theirs.fileno()), "-1"],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
                stdout=output,
                stderr=output,
            )
        theirs.close()

    def boot(self, preload: Preload = Preload.APP) -> None:
        infos = tuple(listener.info for listener in self.listeners)
        message = Boot(config=self.config, generation=3, preload=preload, listeners=infos)
        fds = [pair.fileno() for pair in self.pairs] + [listener.sock.fileno() for listener in self.listeners]
        self.channel.send(encode(message), *fds)

    def hear(self, kind: type[M]) -> M:
        """The next message, which is of this kind."""
        ready, _, _ = select.select([self.channel.fileno()], [], [], DEADLINE)
        assert ready, self.output.read_text()
        packet = self.channel.receive()
        assert packet is not None
        message = decode_from_template(packet.payload)
        assert isinstance(message, kind), message
        return message

    def fork(self, identity: Identity = WORKER) -> Child:
        ours, theirs = socket.socketpair()
        dump, board = stacks.new_dump_file(), new_board()
        self.channel.send(encode(Fork(identity=identity)), theirs.fileno(), dump, board)
        os.close(dump)
        os.close(board)
        theirs.close()
        forked = self.hear(Forked)
        assert forked.identity == identity
        assert not forked.error
        self.children.append(Child(ours, forked.pid))
        return self.children[-1]

    def quit(self) -> None:
        self.channel.send(encode(Quit()))

    def hang_up(self) -> None:
        """The supervisor dies: all of its ends close."""
        for channel in (self.channel, *self.pairs):
            channel.close()
        for child in self.children:
            child.close()

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()
        close_listeners(self.listeners)
        assert all(ended(child.pid) for child in self.children)


def ended(pid: int) -> bool:
    """Whether a process that is nobody's child here ends within the deadline."""
    end = time.monotonic() + DEADLINE
    while psutil.pid_exists(pid) and time.monotonic() < end:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        select.select([], [], [], 0.01)
    return not psutil.pid_exists(pid)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a template for an application with the given source."""
    running: list[Running] = []

    def start_(
        source: str = APP, *binds: str, boot: bool = True, preload: Preload = Preload.APP, **options: Any
    ) -> Running:
        folder = tmp_path / "app"
        folder.mkdir(exist_ok=True)
        (folder / "made_for_test.py").write_text(source)
        config = Config(app="made_for_test:app", app_dir=str(folder), **options)
        template = Running(tmp_path, config, open_listeners(binds, backlog=5, unix_mode=0o600))
        running.append(template)
        if boot:
            template.boot(preload)
        return template

    yield start_
    for template in running:
        template.end()


@pytest.fixture
def ready(start: Start) -> Start:
    """The same, and wait until it is ready."""

    def ready_(*args: Any, **options: Any) -> Running:
        template = start(*args, **options)
        template.hear(TemplateReady)
        return template

    return ready_


# preload


def test_it_imports_the_application_and_says_what_it_found(start: Start) -> None:
    message = start().hear(TemplateReady)
    assert message == TemplateReady(preload=Preload.APP, detail="application", app="made_for_test:app")


def test_what_can_not_be_imported_is_told_with_its_traceback(start: Start) -> None:
    template = start("def broken():\n    return 1 / 0\nbroken()\n")
    message = template.hear(TemplateFailed)
    assert "ZeroDivisionError" in message.message
    assert "in broken" in message.traceback
    assert "hsrv" not in message.traceback, "only the application's frames"
    assert template.exit_code() == ExitCode.OK


THREAD = f"import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n{APP}"
SOCKET = f"import socket\nleft_open = socket.socketpair()\n{APP}"


@pytest.mark.parametrize(("source", "reason"), [(THREAD, "threads"), (SOCKET, "SOCK_STREAM")])
def test_under_auto_an_unsafe_import_is_told_and_ends_the_template(
    start: Start, source: str, reason: str
) -> None:
    template = start(source, preload=Preload.AUTO)
    assert reason in template.hear(PreloadUnsafe).reason
    assert template.exit_code() == ExitCode.OK


def test_under_app_an_unsafe_import_is_forked_all_the_same(start: Start) -> None:
    template = start(SOCKET, preload=Preload.APP)
    assert "although" in template.hear(TemplateReady).detail


def test_under_libraries_a_library_that_must_not_be_shared_is_told_and_ends_the_template(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "queued.py").write_text("import multiprocessing\nWORK = multiprocessing.Queue()\n")
    monkeypatch.setenv("PYTHONPATH", str(library))
    template = start(f"import queued\n{APP}", preload=Preload.LIBRARIES)
    assert (
        "the libraries created objects that processes must not share: Queue queued.WORK"
        in template.hear(PreloadUnsafe).reason
    )
    assert template.exit_code() == ExitCode.OK


def test_under_none_nothing_is_imported(start: Start) -> None:
    template = start("raise RuntimeError('imported')", preload=Preload.NONE)
    assert template.hear(TemplateReady).preload is Preload.NONE
    assert template.fork().facts()["app"] is None


def test_under_libraries_only_what_others_wrote_is_imported(start: Start) -> None:
    template = start("import wsgiref.util\nraise RuntimeError('imported')", preload=Preload.LIBRARIES)
    message = template.hear(TemplateReady)
    assert message.preload is Preload.LIBRARIES
    assert template.fork().facts()["app"] is None


# forks


def test_a_fork_is_the_role_with_all_that_it_was_given(ready: Start) -> None:
    template = ready(APP, "127.0.0.1:0", worker_nice=3)
    worker, pool = template.fork(WORKER), template.fork(POOL)
    facts = worker.facts()
    assert facts["identity"] == [["role", "worker"], ["slot", 1], ["generation", 3], ["leader", True]]
    assert facts["app"] == "made_for_test:app"
    assert facts["urls"] == [template.listeners[0].info.url]
    assert facts["channels"] == [True, True, True]
    assert facts["nice"] - os.getpriority(os.PRIO_PROCESS, 0) == 3
    assert facts["wakeup"] == -1, "the template's wake-up is not the child's"
    facts = pool.facts()
    assert facts["urls"] == [template.listeners[0].info.url], "a pool accepts what no worker does"
    assert facts["nice"] == os.getpriority(os.PRIO_PROCESS, 0)


def test_processes_have_titles(ready: Start) -> None:
    template = ready()
    worker = template.fork()
    worker.facts()
    assert psutil.Process(worker.pid).cmdline()[0].startswith("hsrv: worker-1 g3")
    assert psutil.Process(template.process.pid).cmdline()[0].startswith("hsrv: template g3")


def test_the_exit_code_of_a_child_is_told(ready: Start) -> None:
    template = ready()
    first, second = template.fork(), template.fork(POOL)
    second.tell("exit 7")
    message = template.hear(Exited)
    assert message.pid == second.pid
    assert os.waitstatus_to_exitcode(message.status) == 7
    first.close()
    message = template.hear(Exited)
    assert (message.pid, message.status) == (first.pid, 0)


def test_a_signal_that_ended_a_child_is_told(ready: Start) -> None:
    template = ready()
    child = template.fork()
    os.kill(child.pid, signal.SIGKILL)
    message = template.hear(Exited)
    assert (message.pid, os.waitstatus_to_exitcode(message.status)) == (child.pid, -signal.SIGKILL)


def test_a_child_that_raises_is_logged_and_exits_as_a_fault(ready: Start) -> None:
    template = ready()
    child = template.fork()
    child.tell("raise out of ideas")
    assert os.waitstatus_to_exitcode(template.hear(Exited).status) == ExitCode.INTERNAL
    lines = [json.loads(line) for line in template.output.read_text().splitlines()]
    [failure] = [line for line in lines if line["event"] == "process failed"]
    assert "out of ideas" in failure["exception"]
    assert failure["pid"] == child.pid


def test_what_was_printed_on_import_is_printed_once(ready: Start) -> None:
    template = ready(f"print('good morning')\n{APP}")
    for _ in range(3):
        template.fork().tell("exit 0")
        template.hear(Exited)
    template.quit()
    template.exit_code()
    assert template.output.read_text().count("good morning") == 1


# signals and descriptors


def test_signals_to_the_whole_group_are_the_supervisors_matter(ready: Start) -> None:
    template = ready()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        template.process.send_signal(signum)
        assert template.fork().facts()["urls"] == [], signum


TAKES_SIGNALS = f"""
import signal, sys
for signum in (signal.SIGTERM, signal.SIGCHLD):
    signal.signal(signum, lambda *args: sys.exit(9))
signal.set_wakeup_fd(-1)
{APP}"""


def test_signals_that_the_import_took_are_taken_back(ready: Start) -> None:
    template = ready(TAKES_SIGNALS)
    template.process.send_signal(signal.SIGTERM)
    child = template.fork()
    child.tell("exit 0")
    assert template.hear(Exited).pid == child.pid


SHOWS_INHERITABLE = f"""
import os
for name in os.listdir("/dev/fd"):
    try:
        if int(name) > 2 and os.get_inheritable(int(name)):
            print("inheritable:", name)
    except OSError:
        continue  # of the listing
{APP}"""


def test_what_the_application_starts_inherits_no_descriptor(ready: Start) -> None:
    template = ready(SHOWS_INHERITABLE, "127.0.0.1:0")
    template.quit()
    template.exit_code()
    assert "inheritable" not in template.output.read_text()


# the end


def test_quit_ends_it_and_keeps_socket_files(ready: Start, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    template = ready(APP, f"unix:{path}")
    template.quit()
    assert template.exit_code() == ExitCode.OK
    assert path.exists(), "the next generation listens there"


def test_when_the_supervisor_dies_it_waits_for_its_children_and_removes_socket_files(
    ready: Start, tmp_path: Path
) -> None:
    path = tmp_path / "a.sock"
    template = ready(APP, f"unix:{path}")
    children = [template.fork(), template.fork(POOL)]
    template.hang_up()
    assert template.exit_code() == ExitCode.OK
    assert all(ended(child.pid) for child in children)
    assert not path.exists()


def test_when_the_supervisor_dies_a_child_that_stays_is_killed_after_its_budget(
    ready: Start, tmp_path: Path
) -> None:
    path = tmp_path / "a.sock"
    budgets = {"graceful_timeout": 0.2, "stream_grace": 0.1, "lifespan_shutdown_timeout": 0.1}
    template = ready(APP, f"unix:{path}", **budgets)
    child = template.fork()
    child.tell("stay")
    assert child.lines.readline() == "staying\n"
    template.hang_up()
    assert template.exit_code() == ExitCode.OK
    assert ended(child.pid)
    assert not path.exists()
    assert "child killed" in template.output.read_text()


def test_children_that_died_with_the_supervisor_are_not_waited_for(ready: Start) -> None:
    template = ready(graceful_timeout=60.0)
    children = [template.fork(WORKER), template.fork(POOL)]
    template.process.send_signal(signal.SIGSTOP)  # so that it finds all of this at once
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        assert ended(child.pid)
    template.hang_up()
    template.process.send_signal(signal.SIGCONT)
    assert template.exit_code() == ExitCode.OK


def test_it_leaves_a_socket_file_that_another_server_put_there(ready: Start, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    template = ready(APP, f"unix:{path}")
    path.unlink()
    path.touch()
    template.hang_up()
    assert template.exit_code() == ExitCode.OK
    assert path.exists()


def test_a_supervisor_that_dies_during_the_import_is_noticed_after_it(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    template = start(f"open({str(gate)!r}).read()\n{APP}", f"unix:{path}")
    with gate.open("w"):
        template.hang_up()
    assert template.exit_code() == ExitCode.OK
    assert not path.exists()


def test_a_supervisor_that_dies_before_it_says_anything_is_no_fault(start: Start) -> None:
    template = start(boot=False)
    template.channel.close()
    assert template.exit_code() == ExitCode.OK
    assert "Traceback" not in template.output.read_text()


def test_nothing_is_said_after_a_quit(ready: Start) -> None:
    template = ready()
    template.quit()
    template.exit_code()
    with pytest.raises(ChannelClosed):
        template.channel.receive()
