"""The wheel and the sdist install into an empty environment and serve the demo."""

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
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT))
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
    run(*pip_install(python), str(wheel))
    return python


def pip_install(python: str) -> list[str]:
    return [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile"]


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_installs_into_an_empty_environment_and_serves(
    built: Path, python: str, tmp_path: Path, kind: str
) -> None:
    if kind == "*.tar.gz":
        (sdist,) = built.glob(kind)
        run(sys.executable, "-m", "pip", "--python", python, "uninstall", "-q", "-y", "hsrv")
        run(*pip_install(python), "--no-deps", str(sdist))  # what it needs is what the wheel needed
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env["PYTHONDONTWRITEBYTECODE"] = ""  # compiled once, and not by each process
    with LiveServer("hsrv.demo:app", workers=2, python=python, cwd=tmp_path, env=env) as server:
        assert "<html" in httpx.get(server.url).text
        assert httpx.get(f"{server.url}/hello").status_code == 200
