"""Descriptors of sockets that were open before us."""

import os

import pytest

from hsrv.supervisor.sockets.inheritance import Inheritance
from hsrv.system.sdnotify import kept_name

KEPT = kept_name("bind", "127.0.0.1:80")


@pytest.mark.parametrize(
    ("sockets", "configured", "binds"),
    [
        ([], ("127.0.0.1:80",), ("127.0.0.1:80",)),
        ([("web", 3), ("web", 4), ("admin", 5)], ("127.0.0.1:80",), ("fd://web", "fd://admin")),
        ([("web", 3), ("admin", 4)], ("fd://web",), ("fd://web",)),
        ([("web", 3)], ("fd:3", ":80"), ("fd:3", ":80")),
        ([("web", 3)], ("fd:7",), ("fd://web",)),
        ([(KEPT, 3)], ("127.0.0.1:80",), ("127.0.0.1:80",)),
        ([(KEPT, 3), ("web", 4)], ("127.0.0.1:80",), ("fd://web",)),
    ],
)
def test_what_is_listened_on(
    sockets: list[tuple[str, int]], configured: tuple[str, ...], binds: tuple[str, ...]
) -> None:
    inherited = Inheritance(sockets)
    assert inherited.binds(configured) == binds
    replaced = tuple(text.removeprefix("fd://") for text in binds) if binds != configured else ()
    assert inherited.replaced == replaced
    for name in replaced:
        inherited.take(name)
    assert inherited.binds(configured) == binds, "a reload finds the same"


def test_the_next_server_listens_on_what_the_first_was_passed() -> None:
    again = Inheritance([(kept_name("bind", "fd://web"), 3)], instead_of_binds=["web"])
    assert again.binds((":80",)) == ("fd://web",)
    assert again.binds(("fd://web",)) == ("fd://web",)


def test_each_is_taken_once_and_the_rest_is_closed() -> None:
    ends = [*os.pipe(), *os.pipe()]
    inherited = Inheritance(zip(["a", "a", "b", "c"], ends, strict=True))
    assert inherited.take("a") == ends[:2]
    assert inherited.take("a") == []
    inherited.release(ends[2])
    assert inherited.names == ["c"]
    assert inherited.close_rest() == ["c"]
    assert inherited.close_rest() == []
    for fd in ends[:3]:
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ends[3])
