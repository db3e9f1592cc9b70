"""When forking after an import is not safe, and what is said about it."""

import subprocess
import sys
from pathlib import Path

import pytest

# asked in processes of their own, because pytest's watchdog is a thread, too

PROLOGUE = """
import ctypes, os, socket, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hsrv.app.forksafety import Before, before_import, unsafe_to_fork as unsafe

BEFORE = before_import()

def unsafe_to_fork(allowed=frozenset()):
    return unsafe(Before(BEFORE.descriptors | allowed))

def waits_for_the_end(end):
    end.wait()

assert unsafe_to_fork() is None
"""


def said(code: str) -> list[str]:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    command = [sys.executable, "-c", PROLOGUE + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_thread_is_named_with_what_it_runs() -> None:
    running, joined = said("""
end = threading.Event()
thread = threading.Thread(target=waits_for_the_end, args=(end,), name="poller")
thread.start()
print(unsafe_to_fork())
end.set()
thread.join()
print(unsafe_to_fork())
""")
    assert running == "importing the application started threads: poller (waits_for_the_end in <string>)"
    assert joined == "None"


def test_threads_that_were_joined_are_over() -> None:
    answers = said("""
for _ in range(50):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(abs, range(20)))
    print(unsafe_to_fork())
""")
    assert set(answers) == {"None"}


def test_a_thread_that_python_does_not_know_is_found() -> None:
    assert said("""
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
[task] = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
(task / "comm").write_text("codec")
print(unsafe_to_fork(), flush=True)
os._exit(0)
""") == ["importing the application left native threads: codec"]


def test_sockets_are_named_with_their_ends_and_stay_open() -> None:
    port, listening, allowed, connected = said("""
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1])
print(unsafe_to_fork())
print(unsafe_to_fork({server.fileno()}))
client = socket.create_connection(server.getsockname())
print(unsafe_to_fork({server.fileno()}))
client.send(b"still open")
""")
    assert listening.startswith("importing the application left descriptors open: ")
    assert listening.endswith(f" (AF_INET SOCK_STREAM at 127.0.0.1:{port}) of __main__.server")
    assert allowed == "None"
    assert connected.endswith(f" to 127.0.0.1:{port}) of __main__.client")


def test_a_crowd_of_sockets_is_counted() -> None:
    [reason] = said("""
pairs = [socket.socketpair() for _ in range(4)]
print(unsafe_to_fork())
""")
    assert reason.count("AF_UNIX SOCK_STREAM") == 5
    assert reason.endswith(" and 3 more")


def test_a_socket_that_nobody_can_reach_any_more_is_closed_and_no_reason() -> None:
    assert said("""
import gc
gc.disable()
cycle = [socket.socket()]
cycle.append(cycle)
print(unsafe_to_fork() is None)
del cycle
print(unsafe_to_fork())
""") == ["False", "None"]


def test_threads_that_nobody_can_reach_any_more_end_and_are_no_reason() -> None:
    assert said("""
import gc
from concurrent.futures import ThreadPoolExecutor
gc.disable()
cycle = [ThreadPoolExecutor(1)]
cycle[0].submit(int).result()
cycle.append(cycle)
print(unsafe_to_fork() is None)
del cycle
print(unsafe_to_fork())
""") == ["False", "None"]


def test_standard_streams_and_closed_sockets_are_no_reason() -> None:
    assert said("""
one, other = socket.socketpair()
os.dup2(one.fileno(), 0)
one.close()
other.close()
print(unsafe_to_fork())
""") == ["None"]


def test_an_event_loop_that_can_not_say_whether_it_is_closed_is_one() -> None:
    [reason] = said("""
import asyncio
class Mine(asyncio.AbstractEventLoop): ...
mine = Mine()
print(unsafe_to_fork())
""")
    assert "Mine __main__.mine" in reason


def test_datagram_sockets_without_an_address_are_no_reason(tmp_path: Path) -> None:
    found = said(f"""
import logging.handlers
daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
daemon.bind({str(tmp_path / "log")!r})
allowed = frozenset({{daemon.fileno()}})
fine = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_UNIX)]
fine += [logging.handlers.SysLogHandler(address) for address in (({"127.0.0.1"!r}, 9), {str(tmp_path / "log")!r})]
print(unsafe_to_fork(allowed))
fine[0].bind(("127.0.0.1", 0))
print("AF_INET SOCK_DGRAM at" in unsafe_to_fork(allowed))
fine[0].close()
pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
print(unsafe_to_fork(allowed).count("AF_UNIX SOCK_DGRAM"))
""")
    assert found == ["None", "True", "2"]


def test_a_native_thread_that_its_library_ends_before_a_fork_is_no_reason() -> None:
    assert said("""
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
os.register_at_fork(before=lambda: (libc.pthread_cancel(thread), libc.pthread_join(thread, None)))
print(unsafe_to_fork())
""") == ["None"]


def test_a_child_process_is_named_and_one_that_has_ended_is_no_reason() -> None:
    running, ended, zombie = said("""
import subprocess
child = subprocess.Popen(["sleep", "60"])
print(unsafe_to_fork())
child.kill()
child.wait()
print(unsafe_to_fork())
unwaited = subprocess.Popen(["true"])
print(unsafe_to_fork())
""")
    assert running.startswith("importing the application left child processes: sleep 60 (pid ")
    assert [ended, zombie] == ["None", "None"]


def test_descriptors_that_processes_would_share_are_named(tmp_path: Path) -> None:
    lines = said(f"""
import select, sqlite3, tempfile
def asked(name):
    globals()["it"] = eval(name)
    print(str(unsafe_to_fork()).replace(name, "-"))
    del globals()["it"]
asked("os.pipe()")
asked("select.epoll()")
asked("open({str(tmp_path / "written")!r}, 'w')")
asked("tempfile.TemporaryFile()")
asked("sqlite3.connect({str(tmp_path / "rows.db")!r}).execute('create table a (b)')")
asked("os.open('/dev/ptmx', os.O_RDWR)")
""")
    for line, word in zip(
        lines, ["pipe:", "eventpoll", "/written", "(deleted)", "/rows.db", "/dev/ptmx"], strict=True
    ):
        assert line.startswith("importing the application left descriptors open: ")
        assert word in line
    assert lines[2].endswith(" of __main__.it")


def test_files_for_reading_and_log_files_are_no_reason(tmp_path: Path) -> None:
    assert said(f"""
import logging, logging.handlers
os.chdir({str(tmp_path)!r})
appended = open("appended", "a")
read = open("appended")
folder = os.open(".", os.O_RDONLY)
nothing = open(os.devnull, "w")
chance = open("/dev/urandom", "rb", buffering=0)
logging.basicConfig(filename="written", filemode="w")
logging.warning("started")
rotating = logging.handlers.RotatingFileHandler("rotated")
print(unsafe_to_fork())
""") == ["None"]
