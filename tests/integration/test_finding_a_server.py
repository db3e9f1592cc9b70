"""Which server a command means, and the file by which it is found."""

import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import DEADLINE, Serve, command_line, hsrv
from tests.integration.wire import eventually


def test_without_a_server_the_command_says_where_it_looked(tmp_path: Path) -> None:
    for command in (["status"], ["reload"], ["stop"], ["scale", "2"], ["stacks"], ["prestop"]):
        done = command_line(*command, "--run-dir", str(tmp_path))
        assert done.returncode == 7
        assert "no running server found" in done.stderr
        assert str(tmp_path) in done.stderr


def test_with_two_servers_they_are_listed_and_one_is_named_by_its_pid(serve: Serve, tmp_path: Path) -> None:
    servers = [serve(run_dir=str(tmp_path), workers=1) for _ in range(2)]
    several = command_line("status", "--run-dir", str(tmp_path))
    assert several.returncode == 7
    for server in servers:
        assert f"--pid {server.pid}  tests.apps.raw:app at {server.url}" in several.stderr
    one = command_line("status", "--pid", str(servers[1].pid), "--run-dir", str(tmp_path))
    assert servers[1].url in one.stdout


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root looks at the servers of all users, and others may run here"
)
def test_a_server_is_found_without_options(serve: Serve, tmp_path: Path) -> None:
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path)}
    (tmp_path / "hsrv").mkdir(mode=0o700)
    server = serve(run_dir=str(tmp_path / "hsrv"))
    assert server.url in hsrv("status", env=runtime).stdout


def test_what_a_killed_server_left_is_not_taken_for_one(serve: Serve, tmp_path: Path) -> None:
    stale = tmp_path / "4711.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    assert "no running server" in command_line("status", "--run-dir", str(tmp_path)).stderr
    server = serve(run_dir=str(tmp_path))
    assert not stale.exists()
    assert server.url in command_line("status", "--run-dir", str(tmp_path)).stdout


def test_in_a_directory_for_everybody_only_our_own_files_are_touched(serve: Serve, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(shared / "4242.sock"))
    if os.geteuid() == 0:
        os.chown(shared / "4242.sock", 4242, 4242)
    (shared / "2024.sock").write_text("notes of that year")
    (shared / "7.metrics").mkdir()
    (shared / "7.metrics" / "notes").touch()
    server = serve(run_dir=str(shared), admin="127.0.0.1:0", workers=1)
    warned = server.wait_for_log(lambda entry: entry["event"] == "others may write to the run directory")
    assert warned["why"] == "all users may write to it"
    assert server.url in command_line("status", "--run-dir", str(shared)).stdout
    server.stop()
    left = {"2024.sock", "7.metrics"} | ({"4242.sock"} if os.geteuid() == 0 else set())
    assert {path.name for path in shared.iterdir()} == left
    assert (shared / "7.metrics" / "notes").exists()


def test_the_socket_file_is_told_at_the_start_and_not_left_also_after_a_kill(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve(run_dir=str(tmp_path), graceful_timeout=1, stream_grace=1)
    [path] = tmp_path.glob("*.sock")
    assert path.stat().st_mode & 0o777 == 0o600
    listening = server.wait_for_log(lambda entry: entry["event"] == "listening")
    assert listening["operator"] == str(path) == f"{server.run_dir}/{server.pid}.sock"
    template = server.children("template")[0].process
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait(DEADLINE)
    eventually(lambda: not psutil.pid_exists(template.pid), "the template has ended")
    assert list(tmp_path.glob("*.sock")) == []


def test_a_run_dir_that_can_not_be_used_ends_the_start_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for run_dir, why in ((tmp_path / "file", "exists"), (tmp_path / ("x" * 120), "too long")):
        done = hsrv("start", "tests.apps.raw:app", "--bind", "127.0.0.1:0", "--run-dir", str(run_dir))
        assert done.returncode == 4, done.stderr
        assert "--run-dir" in done.stderr
        assert why in done.stderr
