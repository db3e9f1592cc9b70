"""Other servers' options in a command line."""

from typing import Any

import pytest

from hsrv.sources.otherflags import take


@pytest.mark.parametrize(
    ("line", "left", "found"),
    [
        ("main:app --host ::1 --port=90 -w 3", "main:app -w 3", {"host": "::1", "port": "90"}),
        ("main:app -k gthread -c x.toml", "main:app -c x.toml", {"worker_class": "gthread"}),
        ("--proxy-headers main:app", "main:app", {"proxy_headers": True}),
        ("--no-proxy-headers main:app", "main:app", {"proxy_headers": False}),
        ("--no-access-log --bind a:1", "--no-access-log --bind a:1", {}),
        ("--daemon --reload main:app", "--reload main:app", {"daemon": ""}),
        ("main:app --preload", "main:app --preload=app", {}),
        ("--preload --reload main:app", "--preload=app --reload main:app", {}),
        ("--preload none", "--preload none", {}),
        ("main:app -- --host", "main:app -- --host", {}),
        ("main:app --port", "main:app", {"port": ""}),
        ("--unknown x", "--unknown x", {}),
        ("-u 1000 -m 022", "", {"user": "1000", "umask": "022"}),
    ],
)
def test_they_are_taken_out_with_their_values(line: str, left: str, found: dict[str, Any]) -> None:
    assert take(line.split()) == (left.split(), found)
