import socket
from pathlib import Path

import pytest

from hsrv.ipc.messages import ListenerInfo
from hsrv.ipc.socketfile import remove_socket_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    return path


def info(path: Path, inode: int | None) -> ListenerInfo:
    return ListenerInfo(url=f"unix:{path}", address=(str(path), None), unix_inode=inode)


def test_our_file_is_removed_and_a_second_time_is_harmless(path: Path) -> None:
    ours = info(path, path.stat().st_ino)
    remove_socket_file(ours)
    assert not path.exists()
    remove_socket_file(ours)


def test_a_file_that_another_server_put_there_stays(path: Path) -> None:
    remove_socket_file(info(path, path.stat().st_ino + 1))
    assert path.exists()


def test_a_file_that_was_given_to_us_stays(path: Path) -> None:
    remove_socket_file(info(path, None))
    assert path.exists()


def test_a_folder_that_became_something_else_is_harmless(path: Path) -> None:
    remove_socket_file(info(path / "below", 1))


def test_a_link_or_another_kind_of_file_is_not_ours(path: Path) -> None:
    ours = info(path, path.stat().st_ino)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    remove_socket_file(ours)
    assert path.is_symlink()
    path.unlink()
    path.touch()
    remove_socket_file(info(path, path.stat().st_ino))
    assert path.exists()
