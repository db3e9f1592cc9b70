"""How the server is started again. With real processes: tests/integration/test_upgrade.py."""

import os
import sys
from pathlib import Path

import pytest

from hsrv.supervisor.runtime.launch import SUCCEEDS, Launch


class Spawned:
    """What posix_spawn was called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environ: dict[str, str] = {}
        self.folder = ""
        self.command: tuple[str, ...] = ()
        self.group = -1
        monkeypatch.setattr(os, "posix_spawn", self._spawn)

    def _spawn(self, path: str, command: tuple[str, ...], environ: dict[str, str], *, setpgroup: int) -> int:
        self.folder, self.command, self.environ, self.group = str(Path.cwd()), command, environ, setpgroup
        return 4711


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> Spawned:
    return Spawned(monkeypatch)


def test_it_runs_the_same_command_in_a_process_group_of_its_own(spawned: Spawned, tmp_path: Path) -> None:
    read, write = os.pipe()
    try:
        assert Launch(("/bin/py", "-m", "hsrv"), str(tmp_path), ()).spawn(read) == 4711
        assert os.get_inheritable(read)
        assert not os.get_inheritable(write)
    finally:
        os.close(read)
        os.close(write)
    assert (spawned.command, spawned.group) == (("/bin/py", "-m", "hsrv"), 0)
    assert spawned.environ[SUCCEEDS] == str(read)


def test_it_runs_in_the_same_directory_and_this_process_stays_where_it_is(
    spawned: Spawned, tmp_path: Path
) -> None:
    here = str(Path.cwd())
    read, write = os.pipe()
    try:
        Launch(("/bin/py",), str(tmp_path), ()).spawn(read)
    finally:
        os.close(read)
        os.close(write)
    assert spawned.folder == str(tmp_path)
    assert str(Path.cwd()) == here


def test_variables_that_this_server_has_set_are_left_out(
    spawned: Spawned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_FILE", "1")
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    ours = {"FROM_FILE"}
    read, write = os.pipe()
    try:
        one = Launch(("/bin/py",), str(tmp_path), ours)
        one.spawn(read)
        assert "FROM_FILE" not in spawned.environ
        assert spawned.environ["FROM_OUTSIDE"] == "1"
        ours.clear()  # a reload has read another file
        one.spawn(read)
        assert "FROM_FILE" in spawned.environ
    finally:
        os.close(read)
        os.close(write)


def test_a_directory_that_is_a_link_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "current").symlink_to("release-1")
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setenv("PWD", str(tmp_path / "current"))
    assert Launch.here().folder == str(tmp_path / "current")
    monkeypatch.setenv("PWD", str(tmp_path))
    assert Launch.here().folder == str(tmp_path / "release-1"), "PWD names another directory"
    monkeypatch.delenv("PWD")
    assert Launch.here().folder == str(tmp_path / "release-1")


def test_the_interpreter_is_this_one() -> None:
    assert Launch.here().command[0] == sys.executable
