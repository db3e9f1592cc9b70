"""What is shown while the code is broken: as a browser reads it, and as a terminal does."""

import re
from html.parser import HTMLParser

import pytest

from hsrv.develop.brokenpage import (
    FRAMES_LIMIT,
    TEXT_LIMIT,
    Broken,
    Frame,
    answer,
    frames_of,
    inject,
    page,
    plain,
    wants_html,
)

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"

TRACEBACK = """Traceback (most recent call last):
  File "/app/main.py", line 8, in <module>
    from lib import thing
  File "/env/site-packages/lib/__init__.py", line 2, in thing
    raise ValueError("no")
  File "/app/views.py", line 1, in view
    1 / 0
ZeroDivisionError: division by zero
"""
SOURCES = {
    "/app/main.py": [f"main {number}\n" for number in range(1, 31)],
    "/app/views.py": ["1 / 0\r\n", "after\r\n"],
}


class Reader(HTMLParser):
    """What a browser makes of a page: its elements, and the texts of some."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.problems: list[str] = []
        self._open: list[str] = []
        self.feed(body.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(tag)

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data


def broken() -> Broken:
    frames = frames_of(TRACEBACK, lambda path: SOURCES.get(path, []), lambda path: path.startswith("/app/"))
    return Broken("division by zero", TRACEBACK, frames)


# frames


def test_frames_are_read_from_a_traceback() -> None:
    main, lib, view = broken().frames
    assert main == Frame(
        "/app/main.py", 8, "<module>", is_own=True, source=tuple(f"main {n}" for n in range(3, 14)), first=3
    )
    assert lib == Frame("/env/site-packages/lib/__init__.py", 2, "thing", is_own=False, source=(), first=1)
    assert view == Frame("/app/views.py", 1, "view", is_own=True, source=("1 / 0", "after"), first=1)


def test_syntax_errors_and_groups_have_frames_too() -> None:
    text = '  File "/app/main.py", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n'
    text += '  | Traceback (most recent call last):\n  |   File "/app/views.py", line 1, in view\n'
    found = frames_of(text, lambda path: (), lambda path: True)
    assert [(frame.path, frame.line, frame.function) for frame in found] == [
        ("/app/main.py", 3, ""),
        ("/app/views.py", 1, "view"),
    ]


def test_real_tracebacks_are_understood() -> None:
    import traceback

    try:
        compile("def f(:\n", "/app/main.py", "exec")
    except SyntaxError:
        text = traceback.format_exc()
    found = frames_of(text, lambda path: (), lambda path: path.startswith("/app/"))
    assert [frame.path for frame in found if frame.is_own] == ["/app/main.py"]


def test_of_a_deep_recursion_both_ends_are_shown() -> None:
    text = "".join(f'  File "/app/x.py", line {number}, in f\n' for number in range(1, 3001))
    found = frames_of(text, lambda path: (), lambda path: True)
    assert len(found) == FRAMES_LIMIT
    assert (found[0].line, found[-1].line) == (1, 3000)


def test_a_line_that_the_file_has_no_more_is_no_error() -> None:
    (frame,) = frames_of('  File "/app/x.py", line 90, in f\n', lambda path: ["one\n"], lambda path: True)
    assert frame.source == ()


# the page


def test_the_users_frames_come_first_the_innermost_on_top_and_libraries_are_folded() -> None:
    text = page(broken()).decode()
    places = [
        text.index(part) for part in ("/app/views.py", "/app/main.py", "<details", "/env/site-packages")
    ]
    assert places == sorted(places)
    assert "<mark><s>    8</s> main 8</mark>" in text
    assert "<details open" not in text


def test_without_frames_of_the_user_the_whole_traceback_is_open() -> None:
    assert "<details open" in page(Broken("no", "Traceback\n")).decode()
    assert "<details" not in page(Broken("no")).decode()


def test_everything_from_outside_is_escaped() -> None:
    frame = Frame(EVIL, 1, EVIL, is_own=True, source=(EVIL,))
    foreign = Frame(EVIL, 1, EVIL, is_own=False, source=(EVIL,))
    reader = Reader(page(Broken(EVIL, EVIL, (frame, foreign))))
    assert not reader.problems
    assert "img" not in reader.tags
    assert reader.tags.count("script") == 1
    assert reader.texts["h1"] == [EVIL]
    assert all(EVIL in text for text in reader.texts["pre"])


@pytest.mark.parametrize("text", ["SCRIPT CONTENT KEY POLL_MS", "\udcff\x00\x1b[2J\x9b", "ä\N{SNOWMAN}"])
def test_texts_of_any_kind_leave_the_page_whole(text: str) -> None:
    reader = Reader(page(Broken(text, text, (Frame(text, 1, text, is_own=True, source=(text,)),))))
    assert not reader.problems
    assert (reader.tags.count("h1"), reader.tags.count("script")) == (1, 1)
    assert not re.search(r"[\x00\x1b\x9b]", reader.texts["h1"][0])


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page(broken()).decode()
    assert not re.search(r"https?://|src=|@import|url\(", text)
    assert "color-scheme: light dark" in text


def test_the_page_asks_whether_it_is_over() -> None:
    (script,) = Reader(page(broken())).texts["script"]
    for part in (
        'method: "HEAD"',
        '"x-hsrv-broken"',
        "location.reload()",
        "setTimeout(look, 500)",
        broken().key,
    ):
        assert part in script
    assert not re.search(r"\b(KEY|POLL_MS|BROKEN_HEADER|FAILURE_HEADER)\b", script)


def test_a_long_traceback_loses_its_middle() -> None:
    text = plain(Broken("no", "first\n" + "x" * 2 * TEXT_LIMIT + "\nlast")).decode()
    assert len(text) < TEXT_LIMIT + 1000
    assert "first\n" in text
    assert "\nlast\n" in text
    assert re.search(r"\[\.\.\. \d+ characters \.\.\.\]", text)


def test_the_plain_form_commands_no_terminal() -> None:
    text = plain(Broken("no\x1b[2J", "Traceback\n\x07\ttab")).decode()
    assert text.startswith("no\N{REPLACEMENT CHARACTER}[2J\n\nTraceback\n\N{REPLACEMENT CHARACTER}\ttab\n")


# which of them


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("application/json, Text/HTML ; q=0.1", True),
        ("text/html;q=0", False),
        ("text/html; q=0.000, */*", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        ("application/json", False),
        ("text/html5", False),
        (";;,,;q=", False),
    ],
)
def test_html_is_for_who_names_it(accept: str, expected: bool) -> None:
    assert wants_html(accept) is expected
    headers = dict(answer(broken(), accept).headers)
    assert headers[b"content-type"] == (b"text/html" if expected else b"text/plain") + b"; charset=utf-8"


def test_every_answer_says_that_the_code_is_broken_and_by_what() -> None:
    for accept in ("text/html", "*/*"):
        headers = dict(answer(broken(), accept).headers)
        assert headers[b"x-hsrv-broken"] == b"1"
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"x-hsrv-failure"] == broken().key.encode()
    assert broken().key == broken().key != Broken("division by zero").key


# scripts


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<html><body>x</body></html>", b"<html><body>x<script>S</script></body></html>"),
        (b"<BODY>x</BODY >\n", b"<BODY>x<script>S</script></BODY >\n"),
        (b"<script>'</body>'</script>y</body>", b"<script>'</body>'</script>y<script>S</script></body>"),
        (b"<p>no body", b"<p>no body<script>S</script>"),
        (b"x</bodyguard>", b"x</bodyguard><script>S</script>"),
        (b"", b"<script>S</script>"),
        ("\N{SNOWMAN}</body>".encode(), "\N{SNOWMAN}<script>S</script></body>".encode()),
    ],
)
def test_a_script_goes_before_the_end_of_the_body(body: bytes, expected: bytes) -> None:
    assert inject(body, b"S") == expected


def test_a_script_can_not_end_itself() -> None:
    assert inject(b"", b"a = '</SCRIPT>' + '<!--'") == rb"<script>a = '\x3c/SCRIPT>' + '\x3c!--'</script>"


def test_text_in_utf_16_is_left_alone() -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        body = "\ufeff<body></body>".encode(encoding)
        assert inject(body, b"S") == body
