import json
import socket
import subprocess
import sys

import pytest

from hsrv import __version__
from hsrv.common.terms import Preload
from hsrv.ipc.messages import ListenerInfo, TemplateReady
from hsrv.options.config import Config
from hsrv.supervisor.reports.banner import Banner
from hsrv.supervisor.sockets.listeners import Listener

READY = TemplateReady(preload=Preload.APP, detail="application", app="main:app")


@pytest.fixture
def listeners() -> list[Listener]:
    """What is shown of them; nobody listens."""
    infos = [
        ListenerInfo(url="http://127.0.0.1:8000", address=("127.0.0.1", 8000)),
        ListenerInfo(url="unix:/run/app.sock", address=("/run/app.sock", None)),
    ]
    with socket.socket() as unused:
        return [Listener(info, unused) for info in infos]


def test_on_a_console_it_shows_where_and_what_serves(
    listeners: list[Listener], capfd: pytest.CaptureFixture[str]
) -> None:
    banner = Banner(
        Config(log_format="console", workers=2), workers_why="2 CPUs", app_found="found in main.py"
    )
    banner.template_ready(READY)
    banner.serving(listeners, 1)
    shown = capfd.readouterr().err.splitlines()
    assert shown == [
        f"hsrv {__version__}",
        "  http://127.0.0.1:8000",
        "  unix:/run/app.sock",
        "  app      main:app (found in main.py)",
        "  serving  2 workers (2 CPUs), 1 async pool",
        "  preload  app (application)",
        "  stop with Ctrl-C",
    ]


def test_one_worker_and_two_pools_are_said_so(
    listeners: list[Listener], capfd: pytest.CaptureFixture[str]
) -> None:
    banner = Banner(Config(log_format="console", workers=1, pools=2), workers_why="", app_found="")
    banner.template_ready(READY)
    banner.serving(listeners, 1)
    assert "  serving  1 worker, 2 async pools" in capfd.readouterr().err.splitlines()


RELOADED = """
import socket
from hsrv.logs import logging
from hsrv.options.config import Config
from hsrv.ipc.messages import ListenerInfo, TemplateReady
from hsrv.supervisor.reports.banner import Banner
from hsrv.supervisor.sockets.listeners import Listener
from hsrv.common.terms import Preload
config = Config(log_format="json", workers=2)
logging.setup(config, None)
banner = Banner(config, workers_why="", app_found="")
banner.template_ready(TemplateReady(preload=Preload.APP, detail="application", app="main:app"))
listener = Listener(ListenerInfo(url="http://127.0.0.1:8000", address=("127.0.0.1", 8000)), socket.socket())
banner.serving([listener], 1)
banner.serving([listener], 2)
"""


def test_in_json_it_is_one_line_and_a_reload_another() -> None:
    command = [sys.executable, "-c", RELOADED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert (first["event"], second["event"]) == ("listening", "reloaded")
    assert first["urls"] == ["http://127.0.0.1:8000"]
    assert first["workers"] == 2
    assert first["app"] == "main:app"
    assert first["preload"] == "app (application)"
    assert second["generation"] == 2
