"""What kustomize makes of deploy/kubernetes, and what hsrv makes of the result."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hsrv.options.config import Config
from hsrv.sources.sources import load_config
from tests.integration.conftest import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ["base", *sorted(f"overlays/{path.name}" for path in (KUBERNETES / "overlays").iterdir())]

Manifest = dict[str, Any]


def tool(name: str) -> str | None:
    """A program of our environment (it may have come as a wheel), else of the system."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@cache
def rendered(overlay: str) -> list[Manifest]:
    """The overlay's objects."""
    kubectl = tool("kubectl")
    assert kubectl is not None
    done = subprocess.run(
        [kubectl, "kustomize", str(KUBERNETES / overlay)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def objects(overlay: str, kind: str) -> list[Manifest]:
    return [found for found in rendered(overlay) if found["kind"] == kind]


def only(overlay: str, kind: str) -> Manifest:
    [found] = objects(overlay, kind)
    return found


def pod(overlay: str) -> Manifest:
    found: Manifest = only(overlay, "Deployment")["spec"]["template"]["spec"]
    return found


def containers(spec: Manifest) -> list[Manifest]:
    """All of a pod, in the order of their start."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def is_sidecar(container: Manifest) -> bool:
    return container.get("restartPolicy") == "Always"


def lasting(spec: Manifest) -> list[Manifest]:
    """Those that run as long as the pod."""
    return [*filter(is_sidecar, spec.get("initContainers", [])), *spec["containers"]]


def server(spec: Manifest) -> Manifest:
    """The container with hsrv."""
    [found] = [container for container in containers(spec) if container["name"] == "hsrv"]
    return found


def config_of(overlay: str, folder: Path) -> Config:
    """The configuration as hsrv would read it in the container: mounted file, environment, arguments."""
    spec = pod(overlay)
    container = server(spec)
    environ = {entry["name"]: entry["value"] for entry in container.get("env", [])}
    path = Path(environ["HSRV_CONFIG"])
    [mount] = [found for found in container["volumeMounts"] if found["mountPath"] == str(path.parent)]
    [volume] = [found for found in spec["volumes"] if found["name"] == mount["name"]]
    [data] = [
        found["data"]
        for found in objects(overlay, "ConfigMap")
        if found["metadata"]["name"] == volume["configMap"]["name"]
    ]
    text = data[path.name].replace('"/app"', f'"{folder}"')  # it has to be there
    (folder / path.name).write_text(text)
    environ["HSRV_CONFIG"] = str(folder / path.name)
    assert container["args"] == ["start"], "no options hide in the arguments"
    config, _ = load_config(environ=environ, folder=folder)
    return config


def prestop(container: Manifest) -> dict[str, float]:
    """The times of its `hsrv prestop`."""
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["hsrv", "prestop"]
    return {
        flag.removeprefix("--"): float(command[command.index(flag) + 1])
        for flag in ("--delay", "--quiet", "--timeout")
    }
