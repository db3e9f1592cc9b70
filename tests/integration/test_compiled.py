"""A wheel made with HSRV_COMPILE=1 does what plain Python does."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from hatch_build import COMPILED
from hsrv.testing import LiveServer
from tests.integration.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here"),
    pytest.mark.skipif(
        importlib.util.find_spec("mypyc") is None, reason="mypyc is not installed here (make does it)"
    ),
    pytest.mark.timeout(300),
]


def run(*command: str, env: dict[str, str], cwd: Path = ROOT) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `hsrv` is the compiled one. Not optimised: that takes the C compiler a minute, and how
    quick it is nobody looks at here."""
    out, site = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    run(*command, env={**os.environ, "HSRV_COMPILE": "1", "MYPYC_OPT_LEVEL": "0"})
    (wheel,) = out.glob("*.whl")
    assert not wheel.name.endswith("none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return {
        **os.environ,
        "PYTHONPATH": str(site),
        "PYTHONSAFEPATH": "1",
    }  # safe: the checkout doesn't come first


def test_all_that_should_be_is_compiled_and_has_its_source_beside_it(compiled: dict[str, str]) -> None:
    site = Path(compiled["PYTHONPATH"])
    for source in map(site.joinpath, COMPILED):
        assert source.exists()
        assert list(source.parent.glob(f"{source.stem}.*.so")), source.name
    assert "compiled" in run(sys.executable, "-m", "hsrv", "version", env=compiled, cwd=site)


def test_a_checkout_is_never_compiled() -> None:
    """Whatever is edited there is what runs."""
    assert not list((ROOT / "hsrv").rglob("*.so"))
    assert not list(ROOT.glob("*.so"))


@pytest.mark.parametrize("source", COMPILED)
def test_what_is_compiled_has_no_coroutines(source: str) -> None:
    """hsrv/net/waiting.py says why."""
    tree = ast.parse((ROOT / source).read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


def test_it_serves(compiled: dict[str, str], tmp_path: Path) -> None:
    with LiveServer("hsrv.demo:app", workers=2, env=compiled, cwd=tmp_path) as server:
        assert httpx.get(f"{server.url}/hello").status_code == 200
        with connect(server.url.replace("http", "ws") + "/echo") as websocket:
            websocket.send("here")
            assert "here" in websocket.recv(timeout=10)


def test_it_passes_the_tests_of_http(compiled: dict[str, str]) -> None:
    """The package that is imported first is what the tests get."""
    tests = [
        "tests/unit/http",
        "tests/unit/worker",
        "tests/unit/logs/test_accesslog.py",
        "tests/unit/board/test_census.py",
        "tests/unit/net/test_conn.py",
        "tests/unit/board/test_scoreboard.py",
        "tests/conformance",
    ]
    program = "import sys, pytest, hsrv.system.native as n; assert n.is_compiled(); sys.exit(pytest.main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        program,
        "-q",
        "-n",
        "0",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    assert " passed" in run(*command, env=compiled)
