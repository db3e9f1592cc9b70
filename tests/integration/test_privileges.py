"""--user, --group, --umask: root binds, somebody else serves. Needs root, as the options do."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import ROOT, Serve, hsrv, pids
from tests.integration.wire import eventually

NOBODY = pwd.getpwnam("nobody")
GROUP = 1
"""Not the user's own."""

APP = """
import json, os
from pathlib import Path

def who():
    try:
        os.setuid(0)
        back = True
    except PermissionError:
        back = False
    mask = os.umask(0)
    os.umask(mask)
    return {
        "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "umask": mask, "back": back,
        "home": os.environ.get("HOME"), "user": os.environ.get("USER"),
    }

IMPORTED = who()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    body = json.dumps({"imported": IMPORTED, "now": who(), "role": scope["extensions"]["hsrv"]["role"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture(scope="module")
def python() -> tuple[str, dict[str, str]]:
    """An interpreter that another user may run, and its environment. The usual one may be in root's home."""
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sorted(paths)])}
    other = shutil.which(f"python{sys.version_info[0]}.{sys.version_info[1]}", path=os.defpath)
    for candidate in (sys.executable, other):
        if (
            candidate is not None
            and as_user([candidate, "-c", "import hsrv.supervisor.main"], env).returncode == 0
        ):
            return candidate, env
    pytest.skip("no interpreter with our libraries is within reach of another user")


def as_user(
    command: list[str], env: dict[str, str], uid: int = NOBODY.pw_uid
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            user=uid,
            group=NOBODY.pw_gid,
            extra_groups=[],
            env={**os.environ, **env},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except PermissionError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the user: those of pytest are closed to him."""
    folder = Path(tempfile.mkdtemp(prefix="hsrv-test-"))
    (folder / "who_app.py").write_text(APP)
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def serve_as(serve: Serve, python: tuple[str, dict[str, str]], place: Path) -> Serve:
    def start(**options: Any) -> LiveServer:
        executable, env = python
        usual = {"user": "nobody", "run_dir": str(place / "run"), "app_dir": str(place), "workers": 2}
        return serve("who_app:app", python=executable, env=env, **{**usual, **options})

    return start


def ids_of(pid: int) -> dict[str, list[str]]:
    """Uid, Gid, Groups and capabilities of a process, as the kernel tells them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return {name: fields[name] for name in ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapInh", "CapAmb")}


def everyone(server: LiveServer) -> set[int]:
    return {server.pid, *(child.pid for child in server.children())}


def expected(gid: int = NOBODY.pw_gid) -> dict[str, list[str]]:
    none = ["0000000000000000"]
    return {
        "Uid": [str(NOBODY.pw_uid)] * 4,
        "Gid": [str(gid)] * 4,
        "Groups": [str(gid)],
        **dict.fromkeys(("CapPrm", "CapEff", "CapInh", "CapAmb"), none),
    }


def privileged_port() -> int:
    """A free one below 1024."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.skip("no free port below 1024")


@pytest.mark.parametrize("preload", ["app", "none"])
def test_every_process_and_all_code_of_the_application_runs_as_that_user(
    serve_as: Serve, preload: str
) -> None:
    port = privileged_port()
    server = serve_as(bind=[f"127.0.0.1:{port}"], preload=preload, umask="0027", stream=["/pool*"])
    assert len(everyone(server)) == 5
    assert {pid: ids_of(pid) for pid in everyone(server)} == dict.fromkeys(everyone(server), expected())
    for path, role in (("/", "worker"), ("/pool", "pool")):
        found = httpx.get(f"http://127.0.0.1:{port}{path}").json()
        assert found["role"] == role
        for when in ("imported", "now"):
            assert found[when] == {
                "uids": [NOBODY.pw_uid] * 3,
                "gids": [NOBODY.pw_gid] * 3,
                "groups": [NOBODY.pw_gid],
                "umask": 0o027,
                "back": False,
                "home": NOBODY.pw_dir,
                "user": "nobody",
            }
    line = server.wait_for_log(lambda entry: entry["event"] == "privileges dropped")
    assert line["uid"] == NOBODY.pw_uid


def test_what_is_started_later_is_no_more_than_that(serve_as: Serve) -> None:
    server = serve_as(group=str(GROUP))
    first = everyone(server)
    os.kill(min(pids(server, "worker")), signal.SIGKILL)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log(lambda entry: entry["event"] == "reloaded")
    eventually(lambda: {child.generation for child in server.children()} == {2}, "the old ones are gone")
    assert everyone(server) & first == {server.pid}
    assert [ids_of(pid) for pid in everyone(server)] == [expected(GROUP)] * 5
    assert server.stop() == 0


def test_socket_files_are_the_users(serve_as: Serve, place: Path) -> None:
    server = serve_as(bind=["127.0.0.1:0", f"unix:{place / 'app.sock'}"], group=str(GROUP), unix_mode="0660")
    for path, mode in ((place / "app.sock", 0o660), (place / "run" / f"{server.pid}.sock", 0o600)):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (NOBODY.pw_uid, GROUP, mode), path
    assert server.stop() == 0
    assert not (place / "app.sock").exists()
    assert not list((place / "run").iterdir())


def test_the_user_and_root_operate_it_and_nobody_else(
    serve_as: Serve, place: Path, python: tuple[str, dict[str, str]]
) -> None:
    server = serve_as()
    command = [python[0], "-m", "hsrv", "status", "--json"]
    env = {**python[1], "HSRV_RUN_DIR": server.run_dir}
    mine = as_user(command, env)
    assert mine.returncode == 0, mine.stderr
    assert len(json.loads(mine.stdout)["generations"][0]["processes"]) == 3
    assert hsrv("status", env={"HSRV_RUN_DIR": server.run_dir}).returncode == 0
    assert as_user(command, env, uid=NOBODY.pw_uid - 1).returncode == 7
    done = as_user([python[0], "-m", "hsrv", "reload", "--wait"], env)
    assert done.returncode == 0, done.stderr


def start(*options: str, app: str = "tests.apps.raw:app") -> "subprocess.CompletedProcess[str]":
    return hsrv("start", app, "--bind", "127.0.0.1:0", *options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--user", "no-such-user"], "hsrv: --user no-such-user: there is no such user"),
        (["--user", "nobody", "--group", "no-such"], "hsrv: --group no-such: there is no such group"),
        (["--umask", "0999"], "hsrv: umask = '0999'"),
    ],
)
def test_a_wrong_one_is_one_message(options: list[str], said: str) -> None:
    done = start(*options)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_without_permission_it_is_one_message(python: tuple[str, dict[str, str]]) -> None:
    done = as_user([python[0], "-m", "hsrv", "start", "tests.apps.raw:app", "--user", "root"], python[1])
    assert done.returncode == 2
    assert done.stderr.startswith("hsrv: --user root: only root may change user and group")
    assert done.stderr.count("\n") == 1


def test_a_run_dir_that_is_closed_to_the_user_is_one_message(
    tmp_path: Path, python: tuple[str, dict[str, str]]
) -> None:
    done = subprocess.run(
        [
            python[0],
            "-m",
            "hsrv",
            "start",
            "tests.apps.raw:app",
            "--user",
            "nobody",
            "--run-dir",
            str(tmp_path),
        ],
        env={**os.environ, **python[1]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4
    assert "hsrv: --run-dir" in done.stderr


def test_the_check_runs_the_application_as_that_user_too(
    python: tuple[str, dict[str, str]], place: Path
) -> None:
    (place / "tells.py").write_text("import os, sys\nsys.stderr.write(f'uid {os.getuid()}\\n')\n" + APP)
    done = subprocess.run(
        [python[0], "-m", "hsrv", "check", "tells:app", "--app-dir", str(place), "--user", "nobody"],
        env={**os.environ, **python[1]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"uid {NOBODY.pw_uid}" in done.stderr


def test_the_way_to_the_log_that_never_waits_is_inherited(serve_as: Serve) -> None:
    """The pipe is root's: the user couldn't open it again."""
    server = serve_as()
    for pid in (server.pid, *(child.pid for child in server.children())):
        flags = {
            int(entry.name): int(line.split()[1], 8)
            for entry in Path(f"/proc/{pid}/fd").iterdir()
            if entry.samefile(f"/proc/{pid}/fd/2")
            for line in Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().splitlines()
            if line.startswith("flags:")
        }
        assert not flags.pop(2) & os.O_NONBLOCK
        assert [bool(flag & os.O_NONBLOCK) for flag in flags.values()] == [True], pid
