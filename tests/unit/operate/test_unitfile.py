"""Units by the configuration that they start."""

import re
from pathlib import Path

import pytest

from hsrv.operate.unitfile import COMMON, Facts, service, sockets
from hsrv.options.config import Config, OptionInfo, options
from hsrv.sources.layers import OPTIONS
from hsrv.sources.sources import load_config
from tests.integration.conftest import ROOT

FACTS = Facts("app", ("/srv/app/.venv/bin/hsrv",), "/srv/app", "/usr", "web", {})


def unit(
    folder: Path, environ: dict[str, str] | None = None, facts: Facts = FACTS, **given: object
) -> list[str]:
    config, sources = load_config(given, environ=environ or {}, folder=folder)
    known = Facts(facts.name, facts.program, facts.folder, facts.python, facts.user, environ or {})
    return service(config, sources, known, None).splitlines()


def value(lines: list[str], name: str) -> str:
    [found] = [line.removeprefix(f"{name}=") for line in lines if line.startswith(f"{name}=")]
    return found


def test_it_starts_what_was_said_on_the_command_line(tmp_path: Path) -> None:
    lines = unit(
        tmp_path,
        app="main:app",
        workers=3,
        date_header=False,
        stream=["/a b", "/100%$x", '/"'],
        keep_alive=80.5,
    )
    assert value(lines, "ExecStart") == (
        "/srv/app/.venv/bin/hsrv start main:app --workers 3 "
        r'--stream "/a b" --stream "/100%%$$x" --stream "/\"" --keep-alive 80.5 --no-date-header'
    )
    assert value(lines, "WorkingDirectory") == "/srv/app"
    assert value(lines, "User") == "web"


def test_it_sets_what_the_environment_said(tmp_path: Path) -> None:
    lines = unit(tmp_path, {"HSRV_WORKERS": "4", "PORT": "81", "HOME": "/x"})
    assert "Environment=HSRV_WORKERS=4" in lines
    assert "Environment=PORT=81" in lines
    assert not [line for line in lines if "HOME=" in line and line.startswith("Environment")]
    assert value(lines, "AmbientCapabilities") == "CAP_NET_BIND_SERVICE"


SECRETS = [one for one in options() if one.opt.secret]


@pytest.mark.parametrize("option", SECRETS, ids=lambda one: one.name)
@pytest.mark.parametrize("by", ["environment", "command line"])
def test_a_secret_is_in_no_unit_but_where_it_is_read_from(
    tmp_path: Path, option: OptionInfo, by: str
) -> None:
    secret = "very-secret-token-0123456789"
    if by == "environment":
        lines = unit(tmp_path, {option.variable: secret})
    else:
        lines = unit(tmp_path, {}, FACTS, **{option.name: secret})
    assert secret not in "\n".join(lines)
    assert f"LoadCredential={option.name}:/etc/hsrv/app.{option.name}" in lines
    assert f"Environment={option.variable}=file:%d/{option.name}" in lines
    assert len([line for line in lines if option.variable in line]) == 1


@pytest.mark.parametrize("by", ["environment", "command line"])
def test_a_file_that_holds_a_secret_is_none(tmp_path: Path, by: str) -> None:
    file = "file:/etc/token"
    if by == "environment":
        lines = unit(tmp_path, {"HSRV_ADMIN_TOKEN": file})
        assert f"Environment=HSRV_ADMIN_TOKEN={file}" in lines
    else:
        lines = unit(tmp_path, admin_token=file)
        assert f"--admin-token {file}" in value(lines, "ExecStart")
    assert not [line for line in lines if "LoadCredential" in line]


def test_times_are_those_of_the_budgets(tmp_path: Path) -> None:
    lines = unit(tmp_path, startup_timeout=100, drain_delay=5, graceful_timeout=20, stream_grace=300)
    assert value(lines, "TimeoutStartSec") == "310"
    assert value(lines, "TimeoutStopSec") == "337"


@pytest.mark.parametrize(
    ("binds", "capability"),
    [([":80"], "CAP_NET_BIND_SERVICE"), ([":8000", "unix:/run/app/a.sock"], ""), (["127.0.0.1:0"], "")],
)
def test_the_capability_for_low_ports_alone(tmp_path: Path, binds: list[str], capability: str) -> None:
    lines = unit(tmp_path, bind=binds)
    assert value(lines, "AmbientCapabilities") == value(lines, "CapabilityBoundingSet") == capability
    assert ("ReadWritePaths=/run/app" in lines) is (len(binds) > 1)


@pytest.mark.parametrize(
    ("folder", "python", "home", "temporary"),
    [
        ("/srv/app", "/usr", "yes", "yes"),
        ("/home/me/app", "/usr", "read-only", "yes"),
        ("/srv/app", "/root/python", "read-only", "yes"),
        ("/tmp/app", "/usr", "yes", "no"),
    ],
)
def test_what_it_needs_is_not_hidden_from_it(
    tmp_path: Path, folder: str, python: str, home: str, temporary: str
) -> None:
    lines = unit(tmp_path, facts=Facts("app", ("/usr/bin/hsrv",), folder, python, "", {}))
    assert (value(lines, "ProtectHome"), value(lines, "PrivateTmp")) == (home, temporary)
    assert not [line for line in lines if line.startswith("User=")]


def test_where_operators_come_in(tmp_path: Path) -> None:
    assert "Environment=HSRV_RUN_DIR=%t/hsrv-app" in unit(tmp_path)
    lines = unit(tmp_path, run_dir="run")
    assert "Environment=HSRV_RUN_DIR=/srv/app/run" in lines
    assert not [line for line in lines if line.startswith("RuntimeDirectory")]
    assert "--run-dir" not in value(lines, "ExecStart")


def test_sockets_are_those_of_bind() -> None:
    config = Config(bind=("0.0.0.0:80", "[::1]:81", "unix:run/a.sock"), backlog=77, unix_mode="0600")
    lines = sockets(config, FACTS).splitlines()
    assert [line for line in lines if line.startswith("ListenStream=")] == [
        "ListenStream=0.0.0.0:80",
        "ListenStream=[::1]:81",
        "ListenStream=/srv/app/run/a.sock",
    ]
    assert {"Backlog=77", "SocketMode=0600", "Accept=no"} <= set(lines)


def test_the_unit_that_is_shipped_has_the_same_in_common() -> None:
    shipped = (ROOT / "deploy" / "systemd" / "hsrv@.service").read_text().splitlines()
    assert set(COMMON.splitlines()) <= set(shipped)
    made = unit(ROOT / "examples", app="main:app")
    names = {re.split("=", line)[0] for line in shipped if re.match("[A-Z]", line)}
    assert names == {line.split("=")[0] for line in made if re.match("[A-Z]", line)}
    assert "app" in OPTIONS
