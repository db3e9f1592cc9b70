"""Every overlay renders, is valid to the letter, and keeps the rules that a platform team would check it for."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsrv.supervisor.plan.fleet import Budgets
from hsrv.supervisor.plan.settings import budgets_of
from tests.deploy.manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    config_of,
    containers,
    is_sidecar,
    lasting,
    objects,
    only,
    pod,
    prestop,
    rendered,
    server,
)

kubernetes_validate = pytest.importorskip("kubernetes_validate")
promql_parser = pytest.importorskip("promql_parser")

pytestmark = pytest.mark.usefixtures("kubectl")

VERSIONS = ("1.33.0", "1.37.0")
"""Of Kubernetes: the oldest that knows everything used, and the newest whose schemas there are."""

MARGIN = 5.0
"""Seconds beyond all budgets, for the kubelet."""

GENEROUS = 45.0
"""Seconds by which a grace period may exceed its budgets: more would hide that it isn't made of them."""

NGINX_QUIT = 35.0
"""worker_shutdown_timeout in nginx.conf."""

overlays = pytest.mark.parametrize("overlay", OVERLAYS)
sidecars = pytest.mark.parametrize("overlay", [name for name in OVERLAYS if "sidecar" in name])


# validity


@overlays
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_strictly(overlay: str, version: str) -> None:
    for found in rendered(overlay):
        if found["apiVersion"].startswith("monitoring.coreos.com/"):
            continue  # not Kubernetes' own: below
        kubernetes_validate.validate(found, version, strict=True)


def test_the_schemas_find_a_word_that_is_wrong() -> None:
    wrong = msgspec.yaml.decode(msgspec.yaml.encode(only("base", "Deployment")))
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 5
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


class Endpoint(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """As far as it is used: of monitoring.coreos.com/v1, for which Kubernetes has no schemas."""

    port: str
    path: str
    interval: str
    scrape_timeout: str


class MonitorSpec(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    selector: dict[str, dict[str, str]]
    pod_metrics_endpoints: list[Endpoint]


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]
    for_: str = msgspec.field(default="", name="for")


class Group(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    rules: list[Rule]


class RuleSpec(msgspec.Struct, forbid_unknown_fields=True):
    groups: list[Group]


def test_the_pod_monitor_asks_the_admin_port_of_the_pods() -> None:
    spec = msgspec.convert(only("overlays/autoscale", "PodMonitor")["spec"], MonitorSpec)
    [endpoint] = spec.pod_metrics_endpoints
    ports = {port["name"] for port in server(pod("overlays/autoscale"))["ports"]}
    assert endpoint.port in ports
    assert spec.selector == only("overlays/autoscale", "Deployment")["spec"]["selector"]


def alerts() -> list[Rule]:
    spec = msgspec.convert(only("overlays/autoscale", "PrometheusRule")["spec"], RuleSpec)
    return [rule for group in spec.groups for rule in group.rules]


def dashboard() -> dict[str, Any]:
    [data] = [
        found["data"]
        for found in objects("overlays/autoscale", "ConfigMap")
        if "dashboard.json" in found["data"]
    ]
    found: dict[str, Any] = json.loads(data["dashboard.json"])
    return found


def expressions() -> list[str]:
    """Every query of the rules and the dashboard, with Grafana's variables filled in."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [rule.expr for rule in alerts()] + [text.replace("$__rate_interval", "5m") for text in panels]


def test_each_query_is_promql() -> None:
    for text in expressions():
        promql_parser.parse(text)


def test_alerts_say_what_is_wrong_and_how_bad() -> None:
    for rule in alerts():
        assert rule.labels["severity"] in ("warning", "critical")
        assert rule.annotations.keys() == {"summary", "description"}


def test_the_autoscaler_asks_for_the_container_and_the_metric_that_exist() -> None:
    overlay = "overlays/autoscale"
    autoscaler = only(overlay, "HorizontalPodAutoscaler")["spec"]
    deployment = only(overlay, "Deployment")
    assert autoscaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"], "an apply would set it back"
    [cpu] = [metric["containerResource"] for metric in autoscaler["metrics"] if "containerResource" in metric]
    assert cpu["container"] == server(pod(overlay))["name"]
    named = {metric["pods"]["metric"]["name"] for metric in autoscaler["metrics"] if "pods" in metric}
    assert named == {"hsrv_streams_open", "hsrv_websockets_open"}
    assert all(any(name in text for text in expressions()) for name in named)


# who may do what


@overlays
def test_nobody_is_root_and_nothing_can_be_gained(overlay: str) -> None:
    spec = pod(overlay)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec):
        context = container["securityContext"]
        assert context.get("runAsUser", 1) > 0
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not context.get("privileged")
    for word in ("hostNetwork", "hostPID", "hostIPC"):
        assert word not in spec
    assert overlay == "overlays/dev" or not any("hostPath" in volume for volume in spec["volumes"])


@overlays
def test_there_is_no_token_of_the_cluster(overlay: str) -> None:
    account = only(overlay, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert pod(overlay)["automountServiceAccountToken"] is False
    assert pod(overlay)["serviceAccountName"] == account["metadata"]["name"]


@overlays
def test_what_is_written_to_is_mounted(overlay: str, tmp_path: Path) -> None:
    """The root is read-only: /tmp, the run directory and the socket's directory are not."""
    config, spec = config_of(overlay, tmp_path), pod(overlay)
    hsrv = server(spec)
    mounts = {mount["mountPath"]: mount for mount in hsrv["volumeMounts"]}
    environ = {entry["name"]: entry["value"] for entry in hsrv["env"]}
    wanted = ["/tmp", environ["HSRV_RUN_DIR"]]
    wanted += [
        str(Path(bind.removeprefix("unix:")).parent) for bind in config.bind if bind.startswith("unix:")
    ]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for path in wanted:
        assert not mounts[path].get("readOnly")
        assert "emptyDir" in volumes[mounts[path]["name"]]
    assert volumes[mounts[environ["HSRV_RUN_DIR"]]["name"]]["emptyDir"]["medium"] == "Memory"


@overlays
def test_the_admin_port_is_for_the_monitoring_alone(overlay: str) -> None:
    spec = pod(overlay)
    admin = next(port["containerPort"] for port in server(spec)["ports"] if port["name"] == "admin")
    policy = only(overlay, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    for rule in policy["ingress"]:
        assert rule["ports"], "a rule without ports allows all"
        if admin in [port["port"] for port in rule["ports"]]:
            assert [source["namespaceSelector"]["matchLabels"] for source in rule["from"]]
    assert admin not in [port["targetPort"] for port in only(overlay, "Service")["spec"]["ports"]]


@overlays
def test_selectors_name_the_pods_and_no_others(overlay: str) -> None:
    """An empty one means every pod of the namespace."""
    labels = only(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    found = [
        only(overlay, "Deployment")["spec"]["selector"]["matchLabels"],
        only(overlay, "Service")["spec"]["selector"],
        only(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(one["spec"]["selector"]["matchLabels"] for one in objects(overlay, "PodDisruptionBudget")),
        *(one["labelSelector"]["matchLabels"] for one in pod(overlay)["topologySpreadConstraints"]),
    ]
    for selector in found:
        assert selector
        assert selector.items() <= labels.items()


# life


@overlays
def test_every_lasting_container_is_probed_and_bounded(overlay: str) -> None:
    for container in lasting(pod(overlay)):
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] in ports, (container["name"], probe)
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert container["lifecycle"]["preStop"]


@overlays
def test_hsrv_is_probed_on_its_admin_address(overlay: str, tmp_path: Path) -> None:
    hsrv, config = server(pod(overlay)), config_of(overlay, tmp_path)
    paths = {name: hsrv[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert paths == {
        "startup": {"path": "/startupz", "port": "admin"},
        "liveness": {"path": "/livez", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
    }
    startup = hsrv["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= config.startup_timeout
    deadline = only(overlay, "Deployment")["spec"]["progressDeadlineSeconds"]
    assert deadline > startup["periodSeconds"] * startup["failureThreshold"]


@overlays
def test_auto_workers_have_a_quota_to_read(overlay: str, tmp_path: Path) -> None:
    if config_of(overlay, tmp_path).workers == "auto":
        assert "cpu" in server(pod(overlay))["resources"]["limits"]


def longest_end(overlay: str, budgets: Budgets) -> float:
    """Seconds that the end of a pod may take. All preStop hooks begin at once; a sidecar gets TERM when the main
    container has gone."""
    spec = pod(overlay)
    hook = prestop(server(spec))["timeout"]
    if not is_sidecar(server(spec)):
        return hook + budgets.stop()
    [main] = spec["containers"]
    return max(hook, shell_sleep(main) + NGINX_QUIT) + budgets.stop()


def shell_sleep(container: Manifest) -> float:
    script = container["lifecycle"]["preStop"]["exec"]["command"][-1]
    found = re.match(r"sleep (\d+);", script)
    assert found is not None
    return float(found[1])


@overlays
def test_the_grace_period_covers_the_budgets(overlay: str, tmp_path: Path) -> None:
    longest = longest_end(overlay, budgets_of(config_of(overlay, tmp_path))) + MARGIN
    grace = pod(overlay)["terminationGracePeriodSeconds"]
    assert longest <= grace <= longest + GENEROUS


def test_a_longer_budget_would_be_noticed(tmp_path: Path) -> None:
    budgets = budgets_of(msgspec.structs.replace(config_of("base", tmp_path), graceful_timeout=60.0))
    assert longest_end("base", budgets) + MARGIN > pod("base")["terminationGracePeriodSeconds"]


@overlays
def test_a_rollout_never_has_less_than_was_asked_for(overlay: str) -> None:
    strategy = only(overlay, "Deployment")["spec"]["strategy"]
    if overlay == "overlays/dev":
        assert strategy == {"type": "Recreate"}
    else:
        assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert only(overlay, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


# sidecars


@sidecars
def test_the_sidecar_starts_first_and_both_share_the_socket(overlay: str, tmp_path: Path) -> None:
    spec = pod(overlay)
    [sidecar] = filter(is_sidecar, spec["initContainers"])
    [main] = spec["containers"]
    assert {sidecar["name"], main["name"]} == {"hsrv", "main" if sidecar["name"] == "hsrv" else "proxy"}
    [bind] = config_of(overlay, tmp_path).bind
    folder = str(Path(bind.removeprefix("unix:")).parent)
    names = {
        mount["name"]
        for one in (sidecar, main)
        for mount in one["volumeMounts"]
        if mount["mountPath"] == folder
    }
    assert len(names) == 1
    run = {mount["mountPath"] for mount in server(spec)["volumeMounts"]} - {folder}
    others = main if sidecar["name"] == "hsrv" else sidecar
    assert not run & ({mount["mountPath"] for mount in others["volumeMounts"]} - {"/tmp"})


@sidecars
def test_the_socket_may_be_used_by_the_group_of_the_pod(overlay: str, tmp_path: Path) -> None:
    assert config_of(overlay, tmp_path).unix_mode == "0660"
    assert pod(overlay)["securityContext"]["fsGroup"] > 0


@sidecars
def test_the_hooks_are_in_order(overlay: str) -> None:
    """Whoever has the network waits for load balancers, hsrv a little longer."""
    spec = pod(overlay)
    [front] = [one for one in lasting(spec) if one["name"] != "hsrv"]
    assert prestop(server(spec))["delay"] > shell_sleep(front)
    ends_streams = "--end-streams" in server(spec)["lifecycle"]["preStop"]["exec"]["command"]
    assert ends_streams == is_sidecar(server(spec)), "a main container that drains waits for its streams"


@pytest.mark.parametrize("kind", ["image", "shared"])
def test_code_may_come_from_a_volume(kind: str) -> None:
    spec = pod(f"overlays/sidecar-server-{kind}-volume")
    [mount] = [mount for mount in server(spec)["volumeMounts"] if mount["mountPath"] == "/app"]
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == mount["name"]]
    assert mount["readOnly"]
    assert ("image" in volume) == (kind == "image")
    names = [container["name"] for container in spec["initContainers"]]
    assert names == (["hsrv"] if kind == "image" else ["code", "hsrv"]), (
        "what hsrv serves is there when it starts"
    )


def test_every_manifest_is_used() -> None:
    """A file that no kustomization names is one that nobody applies."""
    named = " ".join(path.read_text() for path in KUBERNETES.rglob("kustomization.yaml"))
    for path in KUBERNETES.rglob("*"):
        if path.is_file() and path.name not in ("kustomization.yaml", "README.md"):
            assert path.name in named, path
