"""The admin address: whether it is open, and its token."""

from pathlib import Path

import msgspec
import pytest

from hsrv.common.errors import BindError, ConfigError
from hsrv.options.config import Config
from hsrv.supervisor.admin.http.address import NO_ADMIN, open_admin, read_token


def config(**options: object) -> Config:
    return msgspec.structs.replace(Config(), **options)


def test_without_the_option_nothing_is_opened() -> None:
    assert open_admin(config()) is NO_ADMIN
    assert NO_ADMIN.urls == []


def test_it_listens_and_has_the_token(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    address = open_admin(config(admin=f"unix:{path}", admin_token="secret"))
    try:
        assert address.urls == [f"unix:{path}"]
        assert address.token == "secret"
        assert path.is_socket()
    finally:
        for listener in address.listeners:
            listener.sock.close()


def test_an_error_names_this_option(tmp_path: Path) -> None:
    with pytest.raises(BindError) as caught:
        open_admin(config(admin=f"unix:{tmp_path}/missing/admin.sock"))
    assert "--admin" in str(caught.value)
    assert "--bind" not in str(caught.value)


@pytest.mark.parametrize(("text", "token"), [(None, ""), ("", ""), ("secret", "secret")])
def test_a_token_may_be_given_as_it_is(text: str | None, token: str) -> None:
    assert read_token(text) == token


def test_a_token_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" from-a-file \n")
    assert read_token(f"file:{tmp_path / 'token'}") == "from-a-file"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_a_file_without_a_token_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="admin_token file:"):
        read_token(f"file:{tmp_path / 'token'}")
