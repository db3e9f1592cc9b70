"""Objects that processes must not share are found by their type and named by the global that holds them."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ASKED = """
import importlib, json, os, sys
from hsrv.app.forkobjects import generators_to_reseed
from hsrv.app.forksafety import before_import, unsafe_to_fork

def asked(name):
    before = before_import()
    module = importlib.import_module(name)
    reason = unsafe_to_fork(before)
    return reason, len(generators_to_reseed())

answers = {}
for name in sys.argv[1:]:
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(asked(name)).encode())
        for process in sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else ():
            process.kill()
            process.join()
        os._exit(0)
    answers[name] = json.loads(os.read(read, 65536))
    os.close(read)
    os.close(write)
    os.wait()
print(json.dumps(answers))
"""

MADE = {
    "ProcessPoolExecutor": "from concurrent.futures import ProcessPoolExecutor\nX = ProcessPoolExecutor(1)",
    "Queue": "import multiprocessing\nX = multiprocessing.Queue()",
    "JoinableQueue": "import multiprocessing\nX = multiprocessing.JoinableQueue()",
    "SimpleQueue": "import multiprocessing\nX = multiprocessing.SimpleQueue()",
    "Connection": "import multiprocessing\nX, _ = multiprocessing.Pipe()",
    "Listener": "from multiprocessing.connection import Listener\nX = Listener()",
    "Lock": "import multiprocessing\nX = multiprocessing.Lock()",
    "RLock": "import multiprocessing\nX = multiprocessing.RLock()",
    "Semaphore": "import multiprocessing\nX = multiprocessing.Semaphore()",
    "BoundedSemaphore": "import multiprocessing\nX = multiprocessing.BoundedSemaphore()",
    "Condition": "import multiprocessing\nX = multiprocessing.Condition()",
    "Event": "import multiprocessing\nX = multiprocessing.Event()",
    "SyncManager": "import multiprocessing\nX = multiprocessing.Manager()",
    "ForkProcess": "import multiprocessing\nX = multiprocessing.get_context('fork').Process(target=print)",
    "_UnixSelectorEventLoop": "import asyncio\nX = asyncio.new_event_loop()",
    "Loop": "import uvloop\nX = uvloop.new_event_loop()",
    "Random": "import random\nX = random.Random()",
    "Special": "import random\nclass Special(random.Random): ...\nX = Special(1)",
}
"""By the name of its type."""

HELD = {
    "held.X": "X = [{'lock': Lock()}]",
    "held.Y": "class Y:\n    lock = Lock()",
    "held.z": "def f(lock):\n    return lambda: lock\nz = f(Lock())",
    "held.DEEP": "class D: ...\nDEEP = D()\nDEEP.state = D()\nDEEP.state.parts = (Lock(), Lock())",
}

FINE = """
import asyncio, logging, random, secrets, tempfile, uuid
from multiprocessing import Pipe, current_process
from concurrent.futures import ProcessPoolExecutor

A = [random.SystemRandom(), secrets.SystemRandom(), asyncio.Lock(), asyncio.Queue(), uuid.uuid4(), random.random()]
B = tempfile.mkdtemp()
C = asyncio.new_event_loop()
C.close()
asyncio.run(asyncio.sleep(0))
D, E = Pipe()
D.close()
E.close()
F = current_process()
with ProcessPoolExecutor(1) as G:
    pass

class Strange:
    @property
    def __class__(self):
        raise SystemExit("asked")
    def __getattr__(self, name):
        raise SystemExit("asked")

class Meta(type):
    def __instancecheck__(cls, other):
        raise SystemExit("asked")
    def __eq__(cls, other):
        raise SystemExit("asked")
    def __hash__(cls):
        raise SystemExit("asked")

class Stranger(metaclass=Meta): ...

H = [Strange(), Stranger(), None]
"""

UNREACHABLE = """
import gc, multiprocessing, random
gc.disable()
cycle = [multiprocessing.Queue(), random.Random()]
cycle.append(cycle)
del cycle
"""

NUMPY = {
    "numpys": "import numpy\nnumpy.random.random()",
    "generator": "import numpy\nX = numpy.random.default_rng()",
    "state": "import numpy\nX = numpy.random.RandomState(1)",
    "bits": "import numpy\nX = numpy.random.PCG64()",
    "replaced": "import numpy\nnumpy.random.set_bit_generator(numpy.random.PCG64())",
}


def asked(folder: Path, sources: dict[str, str]) -> dict[str, tuple[str | None, int]]:
    """What is said about modules, each imported in a process of its own that is forked for it."""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{ASKED}", *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {name: (reason, count) for name, (reason, count) in json.loads(done.stdout).items()}


def test_each_kind_is_named_with_the_global_that_holds_it(tmp_path: Path) -> None:
    modules = {f"makes_{kind.lower()}": source for kind, source in MADE.items()}
    answers = asked(tmp_path, modules)
    for kind, module in zip(MADE, modules, strict=True):
        assert f"created objects that processes must not share: {kind} {module}.X" in str(answers[module][0])


def test_what_a_named_object_consists_of_is_not_named_as_well(tmp_path: Path) -> None:
    source = MADE["ProcessPoolExecutor"]
    [(reason, _)] = asked(tmp_path, {"shop": source}).values()
    assert reason == (
        "importing the application created objects that processes must not share: ProcessPoolExecutor shop.X"
    )


def test_an_object_is_found_wherever_it_is_held(tmp_path: Path) -> None:
    sources = {f"held{number}": source for number, source in enumerate(HELD.values())}
    answers = asked(
        tmp_path, {name: f"from multiprocessing import Lock\n{source}" for name, source in sources.items()}
    )
    for where, name in zip(HELD, sources, strict=True):
        assert str(answers[name][0]).endswith(f"Lock {where.replace('held', name)}")


def test_what_is_closed_or_stateless_is_no_reason_and_no_foreign_code_is_asked(tmp_path: Path) -> None:
    answers = asked(tmp_path, {"fine": FINE, "unreachable": UNREACHABLE})
    assert answers == {"fine": (None, 0), "unreachable": (None, 0)}


def test_generators_of_libraries_are_reseeded_and_no_reason(tmp_path: Path) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "dice.py").write_text(
        "import random\n_die = random.Random()\nclass Cup:\n    die = random.Random()\n"
    )
    source = f"import sys\nsys.path.append({str(library)!r})\nimport dice"
    assert asked(tmp_path, {"game": source}) == {"game": (None, 2)}


def test_the_frameworks_and_what_they_need_can_be_preloaded(tmp_path: Path) -> None:
    names = [
        "fastapi",
        "django.core.handlers.asgi",
        "litestar",
        "httpx",
        "prometheus_client",
        "opentelemetry.sdk.trace",
    ]
    sources = {f"uses_{number}": f"import {name}" for number, name in enumerate(names)}
    assert [reason for reason, _ in asked(tmp_path, sources).values()] == [None] * len(names)


def test_numpys_own_generator_is_reseeded_and_others_are_named(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    answers = {name: reason for name, (reason, _) in asked(tmp_path, NUMPY).items()}
    assert answers.pop("numpys") is None
    assert "RandomState numpy.random.mtrand._rand" in str(answers.pop("replaced"))
    for name, reason in answers.items():
        assert str(reason).endswith(f" {name}.X")
