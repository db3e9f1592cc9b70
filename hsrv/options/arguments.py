"""The arguments of `hsrv start`, read without the library that also writes help and explains mistakes. Pure.

Importing that library and declaring every option of every command to it takes longer than all else before a server
starts. Promises: what is read here means the same to it (a test compares); for anything else, help and mistakes
included, the answer is None, and it is asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from hsrv.options.config import options
from hsrv.options.othernames import OTHER_NAMES, SHORT

CONFIG: Final = "config"
"""Of --config, which names a file and is no option of the server itself."""


_STARTS: Final = ("run", "serve")
"""Words of others for `start`."""


def lead_on(arguments: Sequence[str]) -> list[str]:
    """What users of other servers type, as a command of hsrv: `hsrv main:app`, `hsrv run main:app`, `hsrv --version`,
    `hsrv --port 80 main:app`."""
    first, rest = (arguments[0], list(arguments[1:])) if arguments else ("", [])
    if first in ("--version", "-V"):
        return ["version", *rest]
    if first in _STARTS:
        return ["start", *rest]
    flag = first.partition("=")[0]
    name = flag.removeprefix("--no-").removeprefix("--").replace("-", "_")
    is_option = flag in _flags() or flag in SHORT or (flag.startswith("--") and name in _names())
    return ["start", *arguments] if ":" in first or is_option else list(arguments)


@cache
def _names() -> frozenset[str]:
    return frozenset({option.name for option in options()} | OTHER_NAMES.keys())


@dataclass(frozen=True, slots=True)
class Given:
    """What a command line sets."""

    values: Mapping[str, Any]
    """By option, in the order of their declaration, the application last: what is not given is not in it."""
    config_file: str | None


def parse(arguments: Iterable[str]) -> Given | None:
    """None: it is more than options with their values and one application."""
    given: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        name, value = _one(word, words)
        if name is None or (name == "app" and "app" in given):
            return None
        if isinstance(value, list):
            value = given.get(name, []) + value
        given[name] = value
    config_file = given.pop(CONFIG, None)
    order = [*(option.name for option in options() if option.name != "app"), "app"]
    return Given({name: given[name] for name in order if name in given}, config_file)


def _one(word: str, rest: Iterator[str]) -> tuple[str | None, Any]:
    """The option that a word sets, and its value; takes the value from the rest if it isn't in the word."""
    if not word.startswith("-"):
        return "app", word
    flag, sign, text = word.partition("=")
    if word in _switches():
        return _switches()[word]
    name = _flags().get(flag)
    if name is None or (sign and not flag.startswith("--")):
        return None, None
    value = text if sign else next(rest, None)
    if value is None or (not sign and value.startswith("-")):
        return None, None
    return name, [value] if name in _lists() else value


@cache
def _switches() -> dict[str, tuple[str, bool]]:
    """Flags without a value, to what they set."""
    booleans = [option for option in options() if isinstance(option.default, bool)]
    return {option.flag: (option.name, True) for option in booleans} | {
        f"--no-{option.flag[2:]}": (option.name, False) for option in booleans
    }


@cache
def _flags() -> dict[str, str]:
    """Flags with a value, to their options."""
    found = {"--config": CONFIG, "-c": CONFIG}
    for option in options():
        if option.name != "app" and not isinstance(option.default, bool):
            found[option.flag] = option.name
            if option.opt.short is not None:
                found[option.opt.short] = option.name
    return found


@cache
def _lists() -> frozenset[str]:
    return frozenset(option.name for option in options() if option.is_list)
