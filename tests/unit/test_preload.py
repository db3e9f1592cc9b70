"""What is imported before forking, and when forking is not safe."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsrv.preload import is_library, third_party_modules

BOMB = "raise AssertionError('imported')\n"


@pytest.fixture(autouse=True)
def _path() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def write(folder: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{source}\n{BOMB}")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"shop.py": "import json"}, ["json"]),
        ({"shop.py": "import wave, json as j"}, ["wave", "json"]),
        ({"shop.py": "import email.mime.text"}, ["email", "email.mime", "email.mime.text"]),
        ({"shop.py": "from email import message"}, ["email", "email.message"]),
        ({"shop.py": "from os import path"}, ["os"]),
        ({"shop.py": "import time"}, ["time"]),
        ({"shop.py": "import h11"}, ["h11"]),
        ({"shop.py": "import not_installed_anywhere, json"}, ["json"]),
        ({"shop.py": "from json import *"}, ["json"]),
        ({"shop.py": "try:\n    import json\nexcept ImportError:\n    import wave"}, ["json", "wave"]),
        ({"shop.py": "class A:\n    import json"}, ["json"]),
        ({"shop.py": "def f():\n    import json"}, []),
        ({"shop.py": "async def f():\n    import json"}, []),
        ({"shop.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import json"}, ["typing"]),
        ({"shop.py": "if __name__ == '__main__':\n    import json\nelse:\n    import wave"}, ["wave"]),
        ({"shop.py": "import other", "other.py": "import json"}, ["json"]),
        ({"shop.py": "import other", "other.py": "import shop, json"}, ["json"]),
        ({"shop.py": "import other", "other.py": "(", "unused.py": "import json"}, []),
        ({"shop.py": "from lib import part", "lib/__init__.py": "", "lib/part.py": "import json"}, ["json"]),
        ({"shop.py": "import lib.part", "lib/__init__.py": "import wave", "lib/part.py": ""}, ["wave"]),
        ({"shop.py": "import lib.part", "lib/part.py": "import json"}, ["json"]),
    ],
)
def test_libraries_are_found_through_the_applications_own_modules(
    tmp_path: Path, files: dict[str, str], found: list[str]
) -> None:
    write(tmp_path, files)
    assert third_party_modules("shop:app", str(tmp_path)) == found
    assert "shop" not in sys.modules


@pytest.mark.parametrize(
    "line",
    [
        "from . import deep",
        "from .deep import x",
        "from .. import other",
        "from ..other import x",
        "import top.other",
    ],
)
def test_relative_imports_are_followed(tmp_path: Path, line: str) -> None:
    write(
        tmp_path,
        {
            "top/__init__.py": "import wave",
            "top/web/__init__.py": "",
            "top/web/views.py": f"from .... import above_the_top\n{line}",
            "top/web/deep.py": "import json",
            "top/other.py": "import json",
        },
    )
    assert third_party_modules("top.web.views:app", str(tmp_path)) == ["wave", "json"]


def test_own_code_outside_of_the_folder_is_own_code(tmp_path: Path) -> None:
    """A sibling that an editable install or PYTHONPATH makes importable."""
    write(tmp_path, {"app/shop.py": "import sibling", "src/sibling.py": "import json"})
    sys.path.append(str(tmp_path / "src"))
    assert third_party_modules("shop:app", str(tmp_path / "app")) == ["json"]


def test_an_installed_application_is_read_and_not_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"site-packages/sold/__init__.py": "", "site-packages/sold/web.py": "import json, sold.more"},
    )
    write(tmp_path, {"site-packages/sold/more.py": ""})
    sys.path.append(str(tmp_path / "site-packages"))
    assert third_party_modules("sold.web:app", str(tmp_path)) == ["json"]


def test_what_is_a_library(tmp_path: Path) -> None:
    assert is_library(Path(os.__file__))
    assert is_library(Path(pytest.__file__))
    assert not is_library(tmp_path)
    assert not is_library(Path(__file__))


# whether to fork: asked in processes of their own, because pytest's watchdog is a thread, too

PROLOGUE = """
import ctypes, os, socket, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from hsrv.preload import unsafe_to_fork

def waits_for_the_end(end):
    end.wait()

assert unsafe_to_fork(set()) is None
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
print(unsafe_to_fork(set()))
end.set()
thread.join()
print(unsafe_to_fork(set()))
""")
    assert running == "importing the application started threads: poller (waits_for_the_end in <string>)"
    assert joined == "None"


def test_threads_that_were_joined_are_over() -> None:
    answers = said("""
for _ in range(50):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(abs, range(20)))
    print(unsafe_to_fork(set()))
""")
    assert set(answers) == {"None"}


def test_a_thread_that_python_does_not_know_is_found() -> None:
    assert said("""
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
[task] = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
(task / "comm").write_text("codec")
print(unsafe_to_fork(set()), flush=True)
os._exit(0)
""") == ["importing the application left native threads: codec"]


def test_sockets_are_named_with_their_ends_and_stay_open() -> None:
    port, listening, allowed, connected = said("""
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1])
print(unsafe_to_fork(set()))
print(unsafe_to_fork({server.fileno()}))
client = socket.create_connection(server.getsockname())
print(unsafe_to_fork({server.fileno()}))
client.send(b"still open")
""")
    assert listening.startswith("importing the application left sockets open: descriptor ")
    assert listening.endswith(f" (AF_INET SOCK_STREAM at 127.0.0.1:{port})")
    assert allowed == "None"
    assert connected.endswith(f" to 127.0.0.1:{port})")


def test_a_crowd_of_sockets_is_counted() -> None:
    [reason] = said("""
pairs = [socket.socketpair() for _ in range(4)]
print(unsafe_to_fork(set()))
""")
    assert reason.count("AF_UNIX SOCK_STREAM") == 5
    assert reason.endswith(" and 3 more")


def test_a_socket_that_nobody_can_reach_any_more_is_closed_and_no_reason() -> None:
    assert said("""
import gc
gc.disable()
cycle = [socket.socket()]
cycle.append(cycle)
print(unsafe_to_fork(set()) is None)
del cycle
print(unsafe_to_fork(set()))
""") == ["False", "None"]


def test_threads_that_nobody_can_reach_any_more_end_and_are_no_reason() -> None:
    assert said("""
import gc
from concurrent.futures import ThreadPoolExecutor
gc.disable()
cycle = [ThreadPoolExecutor(1)]
cycle[0].submit(int).result()
cycle.append(cycle)
print(unsafe_to_fork(set()) is None)
del cycle
print(unsafe_to_fork(set()))
""") == ["False", "None"]


def test_standard_streams_and_closed_sockets_are_no_reason() -> None:
    assert said("""
one, other = socket.socketpair()
os.dup2(one.fileno(), 0)
one.close()
other.close()
print(unsafe_to_fork(set()))
""") == ["None"]
