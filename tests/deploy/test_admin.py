"""What manifests, alerts and dashboard ask of the admin address, asked of a real server."""

import json
import re
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from hsrv.testing import LiveServer
from tests.deploy.manifests import KUBERNETES, containers, pod
from tests.deploy.nginx import free_port
from tests.integration.conftest import DEADLINE, ROOT
from tests.integration.wire import eventually

AUTOSCALE = KUBERNETES / "overlays" / "autoscale"
SERIES = re.compile(r"\bhsrv_[a-z_]+\b")
POD_ADDRESS = "10.1.2.3:9000"
"""As the kubelet and Prometheus call a pod."""


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    port = free_port()
    with LiveServer("tests.apps.raw:app", workers=1, admin=f"127.0.0.1:{port}", cwd=ROOT) as server:
        httpx.get(server.url)
        yield f"http://127.0.0.1:{port}"


def get(admin: str, path: str) -> httpx.Response:
    return httpx.get(admin + path, headers={"Host": POD_ADDRESS}, timeout=DEADLINE)


def passes(admin: str, path: str) -> bool:
    return get(admin, path).status_code == 200


@pytest.mark.usefixtures("kubectl")
def test_each_probe_of_the_pods_passes(admin: str) -> None:
    [hsrv] = [container for container in containers(pod("base")) if container["name"] == "hsrv"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = hsrv[probe]["httpGet"]["path"]
        eventually(partial(passes, admin, path), path)


def test_each_metric_that_is_asked_for_exists(admin: str) -> None:
    answer = get(admin, "/metrics")
    known = set(re.findall(r"^# TYPE (\w+)", answer.text, re.M))
    asked = {name for path in AUTOSCALE.iterdir() for name in SERIES.findall(path.read_text())}
    assert asked
    for name in asked:
        family = re.sub(r"_(bucket|count|sum)$", "", name)
        assert {family, family.removesuffix("_total")} & known, name


def test_the_labels_that_are_asked_for_exist(admin: str) -> None:
    """Those of requests; others may have no series in a server that nothing has happened to."""
    answer = get(admin, "/metrics")
    [labels] = set(re.findall(r"^hsrv_requests_total\{([^}]*)\}", answer.text, re.M)[:1])
    panels = json.loads((AUTOSCALE / "dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    for query in queries:
        if "hsrv_requests_total" in query:
            for label in re.findall(r"sum by \(([\w, ]+)\)", query):
                assert all(f"{name.strip()}=" in labels for name in label.split(",")), query
