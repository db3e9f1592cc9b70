"""The lines of `hsrv dev`."""

import traceback
from typing import Any

import pytest

from hsrv.logs.shortlines import FRAMES_SHOWN, Style, is_hidden, short_line, short_request, short_traceback

STYLE = Style("/home/me/shop", ("/usr/lib/python3.12",))

CHAIN = """Traceback (most recent call last):
  File "/home/me/shop/main.py", line 7, in load
    json.loads(text)
    ~~~~~~~~~~^^^^^^
  File "/usr/lib/python3.12/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
ValueError: bad

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/venv/lib/site-packages/starlette/routing.py", line 1, in app
    await self.app()
  File "/home/me/shop/main.py", line 3, in page
    load()
  File "/home/me/shop/deep/views.py", line 9, in load
    raise RuntimeError("two\\nlines") from error
RuntimeError: two
lines
"""


def shown(text: str) -> list[str]:
    return list(short_traceback(text, STYLE))


def test_the_exception_comes_first_then_own_frames_the_innermost_at_the_top_then_the_cause() -> None:
    assert shown(CHAIN) == [
        "RuntimeError: two",
        "lines",
        "  deep/views.py:9 in load",
        '      raise RuntimeError("two\\nlines") from error',
        "  main.py:3 in page",
        "      load()",
        "  (1 more frame: -v shows them)",
        "caused by ValueError: bad",
        "  main.py:7 in load",
        "      json.loads(text)",
        "  (1 more frame: -v shows them)",
    ]


def test_without_an_own_frame_the_last_one_is_shown() -> None:
    text = CHAIN.partition("The above")[0].replace("/home/me", "/venv/site-packages")
    assert shown(text)[1] == "  /usr/lib/python3.12/json/__init__.py:346 in loads"


def test_a_syntax_error_points_at_the_place() -> None:
    text = "  File \"/home/me/shop/main.py\", line 8\n    x(\n     ^\nSyntaxError: '(' was never closed\n"
    assert shown(text) == ["SyntaxError: '(' was never closed", "  main.py:8", "      x(", "       ^"]


def test_an_infinite_recursion_is_cut() -> None:
    def deeper() -> None:
        deepest()

    def deepest() -> None:
        deeper()

    with pytest.raises(RecursionError) as raised:
        deeper()
    lines = shown("".join(traceback.format_exception(raised.value)))
    assert len(lines) == 2 * FRAMES_SHOWN + 2, lines
    assert "more frames" in lines[-1]


def test_a_group_of_exceptions_is_shown_as_it_is() -> None:
    try:
        raise ExceptionGroup("many", [ValueError("a"), TypeError("b")])
    except ExceptionGroup:
        text = traceback.format_exc()
    assert shown(text) == text.rstrip().splitlines()
    assert shown("") == []


def event(**fields: Any) -> dict[str, Any]:
    usual = {"level": "info", "logger": "hsrv.http", "role": "worker", "slot": 1, "pid": 5, "request_id": "x"}
    return {**usual, **fields}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"level": "warning", "event": "slow", "path": "/a\nb"}, "warning  slow  path=/a\\nb"),
        ({"logger": "shop.cart", "event": "sold", "count": 3}, "info     shop.cart: sold  count=3"),
        ({"event": "broken", "error": "no\x1b[2J"}, "info     broken: no\\x1b[2J"),
        ({"event": "reloaded", "generation": 4}, "reloaded"),
        (
            {"event": "reloaded", "files": ["a.py", "b.py"], "count": 2, "seconds": 0.123},
            "reloaded a.py, b.py in 0.12 s",
        ),
        ({"event": "reloaded", "files": ["a.py"], "count": 9, "seconds": 1.0}, "reloaded a.py ... in 1.00 s"),
    ],
)
def test_a_line_says_what_and_nothing_of_the_process(fields: dict[str, Any], line: str) -> None:
    assert short_line(event(**fields), STYLE) == line


def test_colors_only_where_they_are_wanted() -> None:
    colored = Style("/", (), colors=True)
    assert short_line(event(event="x", level="error"), colored) == "\033[31merror   \033[0m x"
    assert short_request("GET", "/\x07", 404, 0.0012, colored) == "\033[33m404\033[0m GET /\\x07  1.2 ms"
    assert short_request("GET", "/", 200, 0.0012, STYLE) == "200 GET /  1.2 ms"


@pytest.mark.parametrize(
    ("level", "text", "hidden"),
    [
        ("info", "ready", True),
        ("debug", "x", True),
        ("info", "reloaded", False),
        ("warning", "killing", True),
        ("warning", "other", False),
        ("error", "the code is broken", False),
    ],
)
def test_of_our_own_lines_those_are_hidden_that_ask_for_nothing(level: str, text: str, hidden: bool) -> None:
    assert is_hidden(level, text) is hidden
