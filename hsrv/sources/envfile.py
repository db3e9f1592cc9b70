"""The file of `--env-file`: NAME=value lines for the environment of the application.

    # a comment
    NAME=value of many words   # a comment needs a blank before it
    export NAME='taken as it is'
    NAME="with \\n, \\t, \\", \\$ and \\\\"

Promises: any other line is an error with its line number, and all errors are reported at once; nothing is expanded or
run. No value spans several lines. Pure.
"""

import re
from collections.abc import Iterator
from typing import Final

_line: Final = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")
_single: Final = re.compile(r"'(?P<text>[^']*)'\s*(?:#.*)?")
_double: Final = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_escape: Final = re.compile(r"\\(.)")
_comment: Final = re.compile(r"(?:^|\s)#.*")
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


def parse_env(text: str) -> dict[str, str]:
    """Names to values; the last one if a name is given twice. Raises ValueError with every problem, one per line."""
    found: dict[str, str] = {}
    problems: list[str] = []
    for number, line in _lines(text):
        match = _line.fullmatch(line)
        if match is None:
            problems.append(f"line {number}: not NAME=value: {line!r}")
            continue
        try:
            found[match["name"]] = _value(match["value"])
        except ValueError as error:
            problems.append(f"line {number}: {match['name']}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _value(text: str) -> str:
    if "\0" in text:
        raise ValueError("an environment can't contain NUL")
    if text.startswith("'"):
        return _quoted(_single, text)["text"]
    if text.startswith('"'):
        return _escape.sub(lambda found: _ESCAPES.get(found[1], found[1]), _quoted(_double, text)["text"])
    return _comment.sub("", text).rstrip()


def _quoted(pattern: "re.Pattern[str]", text: str) -> "re.Match[str]":
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"the quote isn't closed, or something follows it: {text}")
    return match
