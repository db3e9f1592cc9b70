"""`--log-format short`, for `hsrv dev`: lines for the programmer at the keyboard. Pure.

Promises: of hsrv's own lines only those that ask for attention, and one per reload; of a traceback the programmer's own
frames, the innermost first. No text can move the cursor or begin a line of its own. `hsrv dev -v` shows all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hsrv.common.visible import visible

OWN_LINES: Final = frozenset({"reloaded"})
"""Events of hsrv below a warning that are shown."""

HIDDEN_WARNINGS: Final = frozenset({"killing"})
"""In development this is how an old version ends; why the new one is broken has a line of its own."""

FRAMES_SHOWN: Final = 10
"""Own frames of one exception: infinite recursion has a thousand."""

_PROCESS: Final = frozenset(
    {"timestamp", "level", "logger", "event", "role", "slot", "generation", "pid", "request_id", "reload_id"}
    | {"traceparent", "exception", "stack", "stacks", "error", "response_started"}
)
"""Fields that are not repeated after the message."""

_LIBRARY: Final = re.compile(r"[/\\](site-packages|dist-packages)[/\\]|^<frozen ")
_frame: Final = re.compile(r'^  File "(?P<path>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_CHAINS: Final = {
    "The above exception was the direct cause": "caused by",
    "During handling of the above exception": "while handling",
}

_COLORS: Final = {"error": "31", "critical": "31", "warning": "33", "info": "32", "debug": "2"}


@dataclass(frozen=True)
class Style:
    """How lines are to look on this machine."""

    here: str
    """The working directory: paths below it are shown from there."""
    libraries: tuple[str, ...]
    """Directories whose code is not the programmer's, besides site-packages."""
    colors: bool = False

    def paint(self, text: str, code: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colors and code else text

    def is_own(self, path: str) -> bool:
        return not path.startswith(self.libraries) and _LIBRARY.search(path) is None

    def short(self, path: str) -> str:
        return path.removeprefix(f"{self.here}/")


def is_hidden(level: str, event: str) -> bool:
    """Whether a line of hsrv itself is left out."""
    return event in HIDDEN_WARNINGS or (level in ("debug", "info") and event not in OWN_LINES)


def short_line(event: Mapping[str, Any], style: Style) -> str:
    """One event; its traceback below it."""
    level, text = str(event.get("level", "")), str(event.get("event", ""))
    if text == "reloaded":
        return style.paint(_reloaded(event), "32")
    logger = str(event.get("logger", ""))
    who = "" if logger.partition(".")[0] == "hsrv" or not logger else f"{logger}: "
    error = f": {event['error']}" if "error" in event else ""
    more = "".join(f"  {key}={_plain(value)}" for key, value in event.items() if key not in _PROCESS)
    painted = style.paint(f"{level:<8}", _COLORS.get(level, ""))
    lines = [f"{painted} {visible(f'{who}{text}{error}{more}')}"]
    lines += [f"    {visible(line)}" for line in short_traceback(str(event.get("exception", "")), style)]
    for key in ("stack", "stacks"):
        lines += [f"    {visible(line)}" for line in str(event.get(key, "")).splitlines()]
    return "\n".join(lines)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _reloaded(event: Mapping[str, Any]) -> str:
    files = [visible(str(name)) for name in event.get("files", ())]
    more = len(files) < event.get("count", 0)
    seconds = f" in {event['seconds']:.2f} s" if "seconds" in event else ""
    return f"reloaded {', '.join(files)}{' ...' if more else ''}".rstrip() + seconds


# tracebacks


@dataclass
class _Frame:
    path: str
    line: str
    function: str
    source: list[str] = field(default_factory=list)


@dataclass
class _Raised:
    """One exception of a chain."""

    frames: list[_Frame] = field(default_factory=list)
    message: list[str] = field(default_factory=list)
    joined: str = ""
    """How the next one of the chain came of it."""


def short_traceback(text: str, style: Style) -> Iterator[str]:
    """The exception, then own frames with the innermost first, then what led to it. A group of exceptions is shown as
    it is."""
    text = text.rstrip()
    if re.search(r"^\s*[|+]", text, re.MULTILINE):
        yield from text.splitlines()
        return
    chain = _parse(text)
    for number, raised in enumerate(reversed(chain)):
        how = chain[len(chain) - number - 1].joined
        if raised.message:
            yield f"{f'{how} ' if number else ''}{raised.message[0]}"
            yield from raised.message[1:]
        yield from _frames(raised.frames, style)


def _frames(frames: list[_Frame], style: Style) -> Iterator[str]:
    own = [frame for frame in reversed(frames) if style.is_own(frame.path)]
    shown = own[:FRAMES_SHOWN] or frames[-1:]
    for frame in shown:
        function = f" in {frame.function}" if frame.function else ""
        yield f"  {style.short(frame.path)}:{frame.line}{function}"
        for line in frame.source[: 1 if frame.function else None]:
            yield f"      {line.strip() if frame.function else line[4:]}"
    if left := len(frames) - len(shown):
        yield f"  ({left} more {'frame' if left == 1 else 'frames'}: -v shows them)"


def _parse(text: str) -> list[_Raised]:
    """In the order of the text: what was raised last comes last."""
    chain = [_Raised()]
    for line in text.splitlines():
        raised = chain[-1]
        how = next((how for start, how in _CHAINS.items() if line.startswith(start)), "")
        if how:
            raised.joined = how
            chain.append(_Raised())
        elif (found := _frame.match(line)) is not None:
            raised.frames.append(_Frame(found["path"], found["line"], found["function"] or ""))
        elif line.startswith("    ") and raised.frames and not raised.message:
            raised.frames[-1].source.append(line)
        elif line.strip() and not line.startswith(("Traceback (most", "  [Previous line")):
            raised.message.append(line)
    return chain


# requests


def short_request(method: str, target: str, status: int, seconds: float, style: Style) -> str:
    """The line of one request."""
    code = "31" if status >= 500 else "33" if status >= 400 else "36" if status >= 300 else "32"
    return f"{style.paint(str(status), code)} {visible(f'{method} {target}')}  {seconds * 1000:.1f} ms"
