"""The sdist and the wheel that is built of it: it installs into an empty environment and serves the demo."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import ROOT


def run(*command: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel from the tree, an sdist, and a wheel from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(out), str(ROOT))
    return out


def test_the_sdist_builds_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """`build` makes the wheel from the sdist; this one is made from the tree."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT))
    (from_tree,) = tmp_path.glob("*.whl")
    (from_sdist,) = built.glob("*.whl")
    names = [sorted(zipfile.ZipFile(path).namelist()) for path in (from_tree, from_sdist)]
    assert names[0] == names[1]
    assert "hsrv/worker/main.py" in names[0]
    assert not [name for name in names[0] if not name.startswith("hsrv")]


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of an environment with the wheel, what it needs, and nothing else."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(venv))
    python = str(venv / "bin" / "python")
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile", str(wheel))
    return python


def test_it_installs_into_an_empty_environment_and_serves(python: str, tmp_path: Path) -> None:
    """The wheel that was built of the sdist, and so whoever installs either has this."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env["PYTHONDONTWRITEBYTECODE"] = ""  # compiled once, and not by each process
    with LiveServer("hsrv.demo:app", workers=2, python=python, cwd=tmp_path, env=env) as server:
        assert "<html" in httpx.get(server.url).text
        assert httpx.get(f"{server.url}/hello").status_code == 200
