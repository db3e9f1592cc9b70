"""Where operator's sockets are, and which of them are somebody's."""

import os
import socket
from pathlib import Path

import pytest

from hsrv.common.errors import BindError
from hsrv.system import rundir


def left(path: Path, uid: int | None = None) -> None:
    """The socket of a server that was killed; of somebody else, if we may make one."""
    listen(path).close()
    if uid is not None and os.geteuid() == 0:
        os.chown(path, uid, uid)


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
    for name in ("12.sock", "9.sock", "app.sock"):
        left(tmp_path / name)
    for name in ("13.sock", "12.pid", "notes"):
        (tmp_path / name).touch()
    (tmp_path / "14.sock").symlink_to("12.sock")
    assert rundir.candidates(str(tmp_path)) == [tmp_path / "9.sock", tmp_path / "12.sock"]
    assert rundir.candidates(str(tmp_path / "nowhere")) == []


def test_without_a_name_the_usual_places_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "hsrv").mkdir()
    left(tmp_path / "hsrv" / "12.sock")
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
    left(elsewhere / "12.sock")
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
    left(tmp_path / "hsrv" / "12.sock")
    assert tmp_path / "hsrv" / "12.sock" not in rundir.candidates(None)


def test_only_stale_sockets_of_our_own_are_removed(tmp_path: Path) -> None:
    (tmp_path / "2024.sock").write_text("notes of that year")
    (tmp_path / "1.sock").mkdir()
    left(tmp_path / "theirs")
    (tmp_path / "2.sock").symlink_to("theirs")
    left(tmp_path / "3.sock", uid=4242)
    left(tmp_path / "4.sock")
    rundir.remove_stale(tmp_path)
    gone = {"4.sock"} if os.geteuid() == 0 else {"3.sock", "4.sock"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "2024.sock",
        "1.sock",
        "2.sock",
        "theirs",
        "3.sock",
    } - gone
    for name in ("2024.sock", "1.sock", "2.sock"):
        assert not rundir.remove_own(tmp_path / name)
        assert os.path.lexists(tmp_path / name)


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (0o700, ""),
        (0o755, ""),
        (0o775, ""),
        (0o777, "all users"),
        (0o1777, "all users"),
        (0o757, "all users"),
    ],
)
def test_a_directory_that_others_may_write_to_is_told(mode: int, why: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    folder.chmod(mode)
    assert why in rundir.exposure(folder)
    assert bool(why) == bool(rundir.exposure(folder))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
@pytest.mark.parametrize(("owner", "why"), [((4242, 0), "uid 4242"), ((0, 4242), "group 4242")])
def test_so_is_one_of_somebody_else(owner: tuple[int, int], why: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    folder.chmod(0o770)
    os.chown(folder, *owner)
    assert why in rundir.exposure(folder)
