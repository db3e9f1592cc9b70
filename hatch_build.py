"""How the wheel is built. With HSRV_COMPILE=1 the hot path is compiled to C from the same sources, by mypyc.

Without, the wheel is plain Python and runs everywhere. A compiled one is for one Python version and platform; each
extension lies beside its source, which tracebacks show. Nothing is written into the checkout: an extension left beside
a source would be used instead of it, whatever is edited there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED: Final = (
    "hsrv/logs/accesslog.py",
    "hsrv/board/census.py",
    "hsrv/net/conn.py",
    "hsrv/net/gathering.py",
    "hsrv/net/outbox.py",
    "hsrv/net/eager.py",
    "hsrv/board/layout.py",
    "hsrv/board/scoreboard.py",
    "hsrv/http/wire/body.py",
    "hsrv/http/bodies.py",
    "hsrv/http/request/calls.py",
    "hsrv/http/calling.py",
    "hsrv/http/connection.py",
    "hsrv/http/contract.py",
    "hsrv/http/ending.py",
    "hsrv/http/request/boundaries.py",
    "hsrv/http/request/calltimes.py",
    "hsrv/http/request/exchange.py",
    "hsrv/http/wire/fields.py",
    "hsrv/http/wire/grammar.py",
    "hsrv/http/wire/head.py",
    "hsrv/http/host.py",
    "hsrv/http/moving.py",
    "hsrv/http/states.py",
    "hsrv/http/request/pace.py",
    "hsrv/http/wire/parser_split.py",
    "hsrv/http/wire/response.py",
    "hsrv/http/request/scope.py",
    "hsrv/http/wire/trace.py",
    "hsrv/net/takeloop.py",
    "hsrv/wsgi/environ.py",
    "hsrv/wsgi/response.py",
    "hsrv/serving/accept.py",
    "hsrv/serving/admission.py",
    "hsrv/serving/moves.py",
    "hsrv/serving/service.py",
    "hsrv/serving/desk.py",
    "hsrv/worker/worker.py",
    "hsrv/asyncpool/pool.py",
)
"""What runs for every request. A compiled class can be subclassed only by compiled ones: hence both roles."""

SETUP: Final = """
import os, sys
from mypyc.build import mypycify
from setuptools import setup

optimisation = os.environ.get("MYPYC_OPT_LEVEL", "3")  # as mypy's own build has it
options = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", *sys.argv.pop().split()]
extensions = mypycify(options, opt_level=optimisation, debug_level="0", group_name="hsrv")
setup(name="hsrv", packages=[], ext_modules=extensions)
"""


def compile_into(folder: Path) -> list[Path]:
    """Compile `folder`/hsrv in place; the extension modules, relative to `folder`. Raises RuntimeError."""
    (folder / "setup.py").write_text(SETUP)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", " ".join(COMPILED)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(
            "HSRV_COMPILE=1: the hot path could not be compiled. That takes a C compiler and Python's headers (on "
            "Debian: build-essential, python3-dev); without HSRV_COMPILE plain Python is built.\n"
            f"{done.stdout}{done.stderr}"
        )
    (folder / "setup.py").unlink()
    shutil.rmtree(folder / "build")
    return [path.relative_to(folder) for path in sorted(folder.rglob("*.so"))]


class CompileHook(BuildHookInterface):
    """Hatchling calls it for every wheel and sdist."""

    def dependencies(self) -> list[str]:
        """What the build environment needs beyond hatchling: mypyc, and what the sources import, for its types."""
        return [*self.metadata.core.dependencies, "mypy>=2.0", "setuptools>=70"] if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._wanted() or version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="hsrv-compile-"))
        package = self._folder / "hsrv"
        shutil.copytree(
            Path(self.root) / "hsrv", package, ignore=shutil.ignore_patterns("__pycache__", "*.so")
        )
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        try:
            extensions = compile_into(self._folder)
        except RuntimeError:
            shutil.rmtree(self._folder)
            raise
        for path in extensions:
            build_data["force_include"][str(self._folder / path)] = str(path)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        folder = getattr(self, "_folder", None)
        if folder is not None:
            shutil.rmtree(folder)

    def _wanted(self) -> bool:
        return self.target_name == "wheel" and os.environ.get("HSRV_COMPILE", "0") not in ("", "0")
