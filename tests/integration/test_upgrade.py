"""`hsrv upgrade`: the whole server is replaced, supervisor included, and no client has a reason to notice."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from hsrv.common.errors import OperatorError
from hsrv.operate.client import Target, ask, find
from hsrv.rpc import operator
from hsrv.system.rundir import pid_of
from hsrv.testing import LiveServer
from tests.conftest import UPGRADES
from tests.integration.conftest import DEADLINE, ROOT, Serve, operate, parked
from tests.integration.conftest import status_of as status
from tests.integration.load import Load
from tests.integration.test_reload_under_load import (
    APP,
    GOOD,
    GRACE,
    Code,
    changing,
    start,
    trouble,
    usual_mix,
)
from tests.integration.wire import Wire, eventually, request

__all__ = ["code"]


@pytest.fixture
def code(tmp_path: Path) -> Code:
    return Code(tmp_path)


def upgrade(server: LiveServer) -> operator.UpgradeResult:
    """What `hsrv upgrade` does, without a process of its own."""
    return ask(find(Target(server.run_dir)), operator.UPGRADE, operator.UpgradeParams())


def supervisors(server: LiveServer) -> set[int]:
    """Every one that lives, of those that the first process has started."""
    family = psutil.Process(server.pid).children(recursive=True)
    return {one.pid for one in family if "hsrv: supervisor" in " ".join(command_line(one))}


def command_line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@contextmanager
def watched(server: LiveServer) -> Iterator[list[str]]:
    """Somebody asks for the status all the time, as a probe would; what he was told that was no answer."""
    failures: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            try:
                found = status(server)
            except Exception as error:  # whatever it is, a probe would have failed
                failures.append(repr(error))
            else:
                if not found.ready:
                    failures.append(found.not_ready_because)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield failures
    over.set()
    thread.join(DEADLINE)


def has_done(load: Load, kind: str, count: int) -> bool:
    """Or something went wrong before."""
    return bool(load.problems) or load.done[kind] >= count


def test_upgrades_under_load_are_noticed_by_nobody(serve: Serve, code: Code) -> None:
    server = start(serve, code)
    old = {server.pid}
    with usual_mix(server) as load, watched(server) as failures:
        for _ in range(UPGRADES):
            code.next()
            enough = {kind: load.done[kind] + 20 for kind in ("stream end", "websocket end")}
            result = upgrade(server)
            assert (result.adopts, result.pid in old) == (True, False)
            old.add(result.pid)
            eventually(lambda: load.problems or load.latest >= code.version, "the new code answers")
            for kind, count in enough.items():
                eventually(partial(has_done, load, kind, count), f"every {kind} was done properly")
            assert load.problems == []
    assert load.problems == []
    assert failures == []
    assert trouble(server) == []
    last = max(status(server).pid, 0)
    assert last in old
    eventually(lambda: supervisors(server) == {last}, "only the newest supervisor is left")
    assert server.stop() == 0


def test_connections_between_two_requests_go_on_with_the_new_server(serve: Serve, code: Code) -> None:
    server = start(serve, code, workers=1, park_after=0.1, stream_grace=30)
    with Wire(server.host, server.port) as idle, Wire(server.host, server.port) as half:
        for wire in (idle, half):
            assert wire.get("/").json["version"] == 1
        eventually(lambda: parked(server) == 2, "both are parked")
        half.send(request("/")[:10])
        with Wire(server.host, server.port) as stream:
            stream.send(request("/sse?until=2", "Accept: text/event-stream"))
            stream.head()
            assert b'"version": 1' in stream.chunk()
            upgrade(server)
            code.next()  # the stream sees it and ends; nothing has loaded the new code
            assert stream.chunked().endswith(b"\n\n")
            assert stream.get("/").status == 200
        half.send(request("/")[10:])
        pids = {child.pid for child in psutil.Process(status(server).pid).children(recursive=True)}
        assert idle.get("/").json["pid"] in pids
        assert half.response().json["pid"] in pids
    assert trouble(server) == []


def test_what_an_operator_changed_and_what_was_learned_goes_on(serve: Serve) -> None:
    server = serve(workers=1, stream_after=0.2)
    with Wire(server.host, server.port) as wire:
        assert b'"role": "worker"' in wire.get("/sse?plain&n=20&interval=0.05").body
    server.wait_for_log(lambda entry: entry["event"] == "stream in a worker")
    path = find(Target(server.run_dir))
    ask(path, operator.SCALE, operator.ScaleParams(workers=2))
    ask(path, operator.HOLD, operator.HoldParams(held=True))
    upgrade(server)
    found = status(server)
    assert (found.workers, found.not_ready_because) == (2, "drained by the operator")
    assert [one.number for one in found.generations if one.state == "serving"] == [2]
    with Wire(server.host, server.port) as wire:
        assert b'"role": "pool"' in wire.get("/sse?plain&n=1").body


# one that fails

BROKEN = {
    "def broken(:\n": "SyntaxError",
    "import asyncio\nasync def app(scope, receive, send):\n    await asyncio.sleep(3600)\n": "startup-timeout",
    "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n": "was killed by SIGKILL",
}
"""Source, and what is said of it. The last one kills the new supervisor."""


def test_a_server_that_cannot_start_changes_nothing(serve: Serve, code: Code, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    binds = ["127.0.0.1:0", f"unix:{path}"]
    server, file = changing(serve, code, bind=binds, workers=1, lifespan_startup_timeout=1.0)
    before = status(server)
    for number, (source, said) in enumerate(BROKEN.items(), 1):
        with Wire(server.host, server.port) as wire:
            assert wire.get("/").status == 200
            file.write_text(source)
            done = operate(server, "upgrade")
            assert (done.returncode, said in done.stderr) == (1, True), done.stderr
            assert wire.get("/").status == 200
        eventually(lambda: len(server.children()) == 3, "nothing of the new one is left")
        assert supervisors(server) == set()
        assert status(server).pid == before.pid
        for client in (httpx.Client(), httpx.Client(transport=httpx.HTTPTransport(uds=str(path)))):
            with client:
                assert client.get(server.url).status_code == 200
        failed = [entry for entry in server.logs if entry["event"] == "upgrade failed, this server goes on"]
        assert len(failed) == number
    file.write_text(GOOD)
    assert upgrade(server).pid != before.pid, "and the next one works"


def test_one_thing_at_a_time(serve: Serve, code: Code) -> None:
    server, file = changing(serve, code, workers=1)
    file.write_text("import time\ntime.sleep(60)\n" + GOOD)
    os.kill(server.pid, signal.SIGUSR2)
    server.wait_for_log(lambda entry: entry["event"] == "upgrading")
    with pytest.raises(OperatorError, match="an upgrade is under way"):
        upgrade(server)
    with pytest.raises(OperatorError, match="an upgrade is under way"):
        ask(find(Target(server.run_dir)), operator.RELOAD, operator.ReloadParams())
    assert server.stop() == 0, "a stop ends what has not begun to serve, too"


# processes and files


def test_whoever_started_the_server_still_stops_it(serve: Serve, code: Code, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = start(serve, code, workers=1, bind=["127.0.0.1:0", f"unix:{path}"])
    os.kill(server.pid, signal.SIGUSR2)
    eventually(lambda: supervisors(server), "a new supervisor is there")
    server.wait_for_log(lambda entry: entry["event"] == "keeping the pid")
    first = status(server).pid
    assert upgrade(server).pid != first
    eventually(lambda: first not in supervisors(server), "the second supervisor is gone")
    assert [one.name for one in Path(server.run_dir).iterdir()] == [f"{status(server).pid}.sock"]
    generation = status(server).generations[-1].number
    os.kill(server.pid, signal.SIGHUP)  # the first process knows whom to tell
    eventually(lambda: status(server).generations[-1].number == generation + 1, "it reloads")
    assert path.exists()
    assert pid_of(find(Target(server.run_dir, server.pid))) == status(server).pid, "its first pid finds it"
    assert server.stop() == 0
    assert not path.exists()
    assert list(Path(server.run_dir).iterdir()) == [] if Path(server.run_dir).exists() else True


def test_nothing_outlives_the_process_by_which_the_server_is_known(serve: Serve, code: Code) -> None:
    server = start(serve, code, workers=1)
    pid = upgrade(server).pid
    server.wait_for_log(lambda entry: entry["event"] == "keeping the pid")
    new = psutil.Process(pid)
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not new.is_running() or new.status() == psutil.STATUS_ZOMBIE, "it has stopped")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((server.host, server.port)):
        pass


def test_the_socket_file_survives_a_killed_old_server(serve: Serve, code: Code, tmp_path: Path) -> None:
    """It drains yet, and its template cleans up behind it: only what is still its own."""
    path = tmp_path / "app.sock"
    server = start(serve, code, workers=1, bind=["127.0.0.1:0", f"unix:{path}"], stream_grace=60)
    first = upgrade(server).pid
    with Wire(server.host, server.port) as stream:
        stream.send(request("/sse?", "Accept: text/event-stream"))
        stream.head()
        upgrade(server)
        template = [one.template_pid for one in status(server).generations]
        old = [child for child in server.children("template") if child.pid not in template]
        os.kill(first, signal.SIGKILL)
    eventually(lambda: not old[-1].process.is_running(), "its template is gone")
    assert path.exists()
    os.kill(status(server).pid, signal.SIGKILL)
    eventually(lambda: not path.exists(), "the template of the present one cleans up behind that")


# versions


@pytest.fixture
def versions(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Copies of hsrv behind a link that says which is installed; the environment in which it is used."""
    link = tmp_path / "installed"

    def install(**changes: tuple[str, str]) -> dict[str, str]:
        folder = tmp_path / f"v{len(list(tmp_path.glob('v*')))}"
        shutil.copytree(ROOT / "hsrv", folder / "hsrv")
        for module, (before, after) in changes.items():
            file = folder / "hsrv" / f"{module.replace('__', '/')}.py"
            text = file.read_text()
            assert before in text
            file.write_text(text.replace(before, after))
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
        return {"PYTHONPATH": f"{link}:{ROOT}"}

    return install


def test_a_version_of_other_messages_takes_over_all_but_idle_connections(
    serve: Serve, code: Code, versions: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    env = {**versions(), **code.env}
    server = serve(APP, env=env, cwd=tmp_path, workers=1, stream_grace=GRACE)
    with Wire(server.host, server.port) as idle:
        idle.get("/")
        versions(ipc__messages=("VERSION: Final = 1\n", "VERSION: Final = 2\n"))
        result = upgrade(server)
        assert not result.adopts
        assert idle.ended(), "closed, and not lost in a channel that nobody reads"
    assert httpx.get(server.url).status_code == 200
    assert [entry["why"] for entry in server.logs if entry["event"] == "idle connections are closed"]


def test_a_version_that_cannot_read_the_state_says_so(
    serve: Serve, code: Code, versions: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    env = {**versions(), **code.env}
    server = serve(APP, env=env, cwd=tmp_path, workers=1)
    versions(supervisor__upgrade__upgradestate=("PROTOCOL: Final = 1\n", "PROTOCOL: Final = 2\n"))
    with pytest.raises(OperatorError, match="speaks version 1 of upgrades, this one 2"):
        upgrade(server)
    versions(sources__sources=('"HSRV_SUCCEEDS"', '"HSRV_NOTHING"'))  # one from before there were upgrades
    with pytest.raises(OperatorError, match="exited with code 2"):
        upgrade(server)
    assert httpx.get(server.url).status_code == 200


def test_the_new_server_starts_where_the_link_leads_by_then(serve: Serve, code: Code, tmp_path: Path) -> None:
    """Deployments are folders, and a link says which is the present one."""
    for number in (1, 2):
        folder = tmp_path / f"release-{number}"
        folder.mkdir()
        (folder / "released.py").write_text(f"import os\nos.environ['RELEASE'] = '{number}'\n{ENV_APP}")
        (folder / "app.env").write_text(f"FROM_FILE={number}\n")
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "release-1")
    env: dict[str, Any] = {"PWD": str(link)}
    server = serve("released:app", env=env, cwd=link, workers=1, env_file="app.env")
    assert httpx.get(server.url).json() == ["1", "1"]
    link.unlink()
    link.symlink_to(tmp_path / "release-2")
    upgrade(server)
    assert httpx.get(server.url).json() == ["2", "2"]


ENV_APP = """
import json
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps([os.environ["RELEASE"], os.environ["FROM_FILE"]]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
