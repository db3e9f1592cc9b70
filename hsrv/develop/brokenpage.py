"""The error page while the code can't be loaded (`hsrv start --reload`), and injection of scripts into pages. Pure.

The page is self-contained. It requests its URL every POLL_MS, and reloads when the response no longer carries
BROKEN_HEADER or has another FAILURE_HEADER. All external text in it is escaped.
"""

import html
import json
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

BROKEN_HEADER: Final = b"x-hsrv-broken"
FAILURE_HEADER: Final = b"x-hsrv-failure"
"""Identifies the failure: the page reloads when it changes."""

POLL_MS: Final = 500
CONTEXT: Final = 5
"""Source lines shown before and after that of a frame."""

FRAMES_LIMIT: Final = 200
"""Frames that are shown, half of them from each end: infinite recursion has a thousand."""

TEXT_LIMIT: Final = 256 * 1024
"""Characters of a traceback."""


@dataclass(frozen=True)
class Frame:
    """One line of a traceback."""

    path: str
    line: int
    """From 1."""
    function: str
    """"" if there is none: for a syntax error."""
    is_own: bool
    """Whether it is the user's code, not a library's."""
    source: tuple[str, ...] = ()
    """Surrounding lines."""
    first: int = 1
    """Number of the first line in `source`."""


@dataclass(frozen=True)
class Broken:
    """Why the application can't be loaded."""

    message: str
    """One sentence, as logged."""
    traceback: str = ""
    frames: tuple[Frame, ...] = ()
    """In the order of the traceback."""

    @property
    def key(self) -> str:
        """Identifies the failure."""
        text = f"{self.message}\0{self.traceback}"
        return f"{zlib.crc32(text.encode(errors='replace')):08x}"


@dataclass(frozen=True)
class Answer:
    """A response without its status."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def answer(broken: Broken, accept: str) -> Answer:
    """HTML for clients that accept it, plain text for others."""
    if wants_html(accept):
        kind, body = b"text/html", page(broken)
    else:
        kind, body = b"text/plain", plain(broken)
    headers = (
        (b"content-type", kind + b"; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"vary", b"accept"),
        (BROKEN_HEADER, b"1"),
        (FAILURE_HEADER, broken.key.encode()),
    )
    return Answer(headers, body)


def wants_html(accept: str) -> bool:
    """Whether an Accept value names text/html and doesn't exclude it. curl and other programs send `*/*`."""
    for part in accept.lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        if kind == "text/html":
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return False


# frames

_FRAME: Final = re.compile(
    r'^[ |+]*File "(?P<path>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$', re.M
)


def frames_of(
    traceback: str, source: Callable[[str], Sequence[str]], is_own: Callable[[str], bool]
) -> tuple[Frame, ...]:
    """The frames in the text of a traceback. `source`: returns the lines of a file, or none."""
    found = list(_FRAME.finditer(traceback))
    if len(found) > FRAMES_LIMIT:
        found = found[: FRAMES_LIMIT // 2] + found[-FRAMES_LIMIT // 2 :]
    frames = []
    for match in found:
        path, line = match["path"], int(match["line"])
        first = max(1, line - CONTEXT)
        lines = tuple(text.rstrip("\r\n") for text in source(path)[first - 1 : line + CONTEXT])
        frames.append(Frame(path, line, match["function"] or "", is_own(path), lines, first))
    return tuple(frames)


# the forms


def plain(broken: Broken) -> bytes:
    """For a terminal: without control characters."""
    text = f"{broken.message.rstrip()}\n"
    if broken.traceback:
        text += f"\n{_cut(broken.traceback).rstrip()}\n"
    text += "\nThe code can't be loaded. Save a change to try again.\n"
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).encode(errors="replace")


def page(broken: Broken) -> bytes:
    """A self-contained HTML page. The user's frames come first, the innermost at the top: the error is usually
    there."""
    own = [frame for frame in reversed(broken.frames) if frame.is_own]
    foreign = [frame for frame in reversed(broken.frames) if not frame.is_own]
    parts = [f"<h1>{_escaped(broken.message)}</h1>"]
    parts += map(_section, own)
    if foreign:
        parts.append(_folded(f"Libraries: {len(foreign)} frames", "".join(map(_section, foreign))))
    if broken.traceback:
        whole = f"<pre>{_escaped(_cut(broken.traceback))}</pre>"
        parts.append(_folded("The whole traceback", whole, is_open=not own))
    script = _SCRIPT.replace("KEY", json.dumps(broken.key))
    text = _PAGE.replace("SCRIPT", script).replace("CONTENT", "\n".join(parts))
    return text.encode(errors="replace")


def _section(frame: Frame) -> str:
    where = f"<b>{_escaped(frame.path)}</b>:{frame.line}"
    function = f" in <i>{_escaped(frame.function)}</i>" if frame.function else ""
    return f"<section><header>{where}{function}</header>{_code(frame)}</section>"


def _code(frame: Frame) -> str:
    if not frame.source:
        return ""
    rows = []
    for number, text in enumerate(frame.source, frame.first):
        row = f"<s>{number:>5}</s> {_escaped(text)}"
        rows.append(f"<mark>{row}</mark>" if number == frame.line else f"<span>{row}</span>")
    return f"<pre>{''.join(rows)}</pre>"


def _folded(title: str, content: str, *, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{_escaped(title)}</summary>{content}</details>"


def _escaped(text: str) -> str:
    return html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))


def _cut(text: str) -> str:
    """Without its middle when it is too long: the cause is at the end or the beginning."""
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_SCRIPT: Final = (
    """
(function look() {
  const again = () => setTimeout(look, POLL_MS);
  fetch(location.href, {method: "HEAD", cache: "no-store", credentials: "same-origin",
      headers: {accept: "text/html"}, signal: AbortSignal.timeout(10000)}).then(answer => {
    const failure = answer.headers.get("FAILURE_HEADER");
    if (answer.headers.get("BROKEN_HEADER") !== "1" || (failure && failure !== KEY)) location.reload();
    else again();
  }, again);
})();
""".replace("POLL_MS", str(POLL_MS))
    .replace("FAILURE_HEADER", FAILURE_HEADER.decode())
    .replace("BROKEN_HEADER", BROKEN_HEADER.decode())
)

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The code can't be loaded</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; --line: #8884; --soft: light-dark(#666, #999);
    --hot: light-dark(#b91c1c, #ff8a7a); --here: light-dark(#fde8e8, #5b2226); }
  * { box-sizing: border-box; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.2rem; color: var(--hot); white-space: pre-wrap; overflow-wrap: anywhere; }
  section, details { border: 1px solid var(--line); border-radius: .6rem; margin: 1rem 0; overflow: hidden; }
  section > header, summary { padding: .5rem 1rem; overflow-wrap: anywhere; }
  summary { cursor: pointer; } details > section { margin: 1rem; }
  pre { font: .85rem/1.6 ui-monospace, monospace; margin: 0; padding: .5rem 0; overflow-x: auto;
    border-top: 1px solid var(--line); tab-size: 4; }
  pre span, pre mark { display: block; padding: 0 1rem; min-width: max-content; color: inherit; background: none; }
  pre mark { background: var(--here); } pre s { color: var(--soft); text-decoration: none; user-select: none; }
  details > pre { padding: .5rem 1rem; } footer { color: var(--soft); }
</style>
</head>
<body>
CONTENT
<footer>hsrv tries again when a file changes, and this page reloads by itself.</footer>
<script>SCRIPT</script>
</body>
</html>
"""


# --reload-browser

_BODY_END: Final = re.compile(rb"</body[\s>]", re.I)
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
"""Byte order marks of UTF-16: ASCII bytes can't be inserted into such text."""


def inject(body: bytes, script: bytes) -> bytes:
    """A complete HTML body with `script` (the code, without tags) before </body>, or at the end."""
    if body.startswith(_WIDE):
        return body
    tag = b"<script>" + re.sub(rb"<(?=/script|!--)", rb"\\x3c", script, flags=re.I) + b"</script>"
    place = max((found.start() for found in _BODY_END.finditer(body)), default=len(body))
    return body[:place] + tag + body[place:]
