"""What is compiled in a wheel made with HSRV_COMPILE=1.

`make test-compiled` builds the wheel and runs with it the tests of HTTP, of the compiled modules, and these.
"""

import ast
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

import hsrv
from hatch_build import COMPILED
from hsrv.system.native import is_compiled
from hsrv.testing import LiveServer
from tests.conftest import OF_A_WHEEL, ROOT

of_a_wheel = pytest.mark.skipif(not OF_A_WHEEL, reason="make test-compiled does it: it builds the wheel")


@pytest.mark.skipif(OF_A_WHEEL, reason="the wheel is tested, not the checkout")
def test_a_checkout_is_never_compiled() -> None:
    """Whatever is edited there is what runs."""
    assert not is_compiled()
    assert not list((ROOT / "hsrv").rglob("*.so"))
    assert not list(ROOT.glob("*.so"))


@pytest.mark.parametrize("source", COMPILED)
def test_what_is_compiled_has_no_coroutines(source: str) -> None:
    """hsrv/net/waiting.py says why."""
    tree = ast.parse((ROOT / source).read_text())
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


@of_a_wheel
def test_all_that_should_be_is_compiled_and_has_its_source_beside_it() -> None:
    assert is_compiled()
    site = Path(hsrv.__path__[0]).parent
    assert site != ROOT
    for source in map(site.joinpath, COMPILED):
        assert source.exists()
        assert list(source.parent.glob(f"{source.stem}.*.so")), source.name


@of_a_wheel
def test_the_server_of_the_wheel_serves(tmp_path: Path) -> None:
    said = subprocess.check_output(
        [sys.executable, "-m", "hsrv", "version"], cwd=tmp_path, timeout=30, text=True
    )
    assert "compiled" in said
    with LiveServer("hsrv.demo:app", workers=2, cwd=tmp_path) as server:
        assert httpx.get(f"{server.url}/hello").status_code == 200
        with connect(server.url.replace("http", "ws") + "/echo") as websocket:
            websocket.send("here")
            assert "here" in websocket.recv(timeout=10)
