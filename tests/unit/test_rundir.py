"""Where operator's sockets are, and which of them are somebody's."""

import os
import socket
from pathlib import Path

import pytest

from hsrv import rundir
from hsrv.errors import BindError


def listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(1)
    return sock


def test_the_users_runtime_directory_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert rundir.default_run_dir() == tmp_path / "hsrv"
    assert rundir.prepare(None) == tmp_path / "hsrv"
    assert (tmp_path / "hsrv").stat().st_mode & 0o777 == 0o700


def test_a_usual_place_that_others_may_enter_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "hsrv").mkdir()
    (tmp_path / "hsrv").chmod(0o755)
    with pytest.raises(BindError, match="others may enter"):
        rundir.prepare(None)
    assert rundir.prepare(str(tmp_path / "hsrv")).is_dir(), "but one that is named is"


def test_a_place_that_is_named_is_made_with_its_parents(tmp_path: Path) -> None:
    assert rundir.prepare(str(tmp_path / "a" / "b")).is_dir()


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BindError, match="exists"):
        rundir.prepare(str(tmp_path / "file"))
    with pytest.raises(BindError):
        rundir.prepare(str(tmp_path / "file" / "below"))


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="too long"):
        rundir.socket_path(tmp_path / ("x" * 100), 1)
    assert rundir.socket_path(Path("/run/hsrv"), 12) == Path("/run/hsrv/12.sock")


def test_candidates_are_sockets_named_after_a_pid(tmp_path: Path) -> None:
    for name in ("12.sock", "9.sock", "app.sock", "12.pid", "notes"):
        (tmp_path / name).touch()
    assert rundir.candidates(str(tmp_path)) == [tmp_path / "9.sock", tmp_path / "12.sock"]
    assert rundir.candidates(str(tmp_path / "nowhere")) == []


def test_without_a_name_the_usual_places_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "hsrv").mkdir()
    (tmp_path / "hsrv" / "12.sock").touch()
    assert tmp_path / "hsrv" / "12.sock" in rundir.candidates(None)


def test_a_socket_that_nobody_listens_on_is_stale_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "9.sock"
    with listen(path):
        assert not rundir.is_stale(path)
        rundir.remove_stale(tmp_path)
        assert path.exists()
    assert rundir.is_stale(path)
    rundir.remove_stale(tmp_path)
    assert not path.exists()
    assert rundir.is_stale(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_place_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BindError, match="permission"):
        rundir.prepare(str(tmp_path))


def test_a_link_in_a_usual_place_is_not_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "12.sock").touch()
    (tmp_path / "hsrv").symlink_to(elsewhere)
    with pytest.raises(BindError, match="not a directory"):
        rundir.prepare(None)
    assert tmp_path / "hsrv" / "12.sock" not in rundir.candidates(None)


def test_a_folder_that_others_may_write_to_is_not_looked_into(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "hsrv").mkdir()
    (tmp_path / "hsrv").chmod(0o777)
    (tmp_path / "hsrv" / "12.sock").touch()
    assert tmp_path / "hsrv" / "12.sock" not in rundir.candidates(None)
