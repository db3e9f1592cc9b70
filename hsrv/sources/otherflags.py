"""Takes the options of other servers (`hsrv.options.othernames`) out of a command line. Pure.

So the parser of the command line knows only hsrv's own options, and `--help` shows no others.
"""

from collections.abc import Sequence, Set
from typing import Any, Final

from hsrv.options.othernames import BARE, OTHER_NAMES, SHORT, OtherName
from hsrv.sources.layers import OPTIONS

_OWN_SHORT: Final = {option.opt.short for option in OPTIONS.values() if option.opt.short} | {"-c"}
_NOT_OTHERS: Final = OPTIONS.keys() | {"config"}


def take(arguments: Sequence[str], own: Set[str] = frozenset()) -> tuple[list[str], dict[str, Any]]:
    """The arguments that are left, and the values of other servers' options by name. What a switch of theirs means
    here is given to it as its value. `own`: flags of the command itself."""
    left: list[str] = []
    found: dict[str, Any] = {}
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            return [*left, argument, *waiting], found
        flag, equals, value = argument.partition("=")
        other, is_on = _other(flag) if flag not in own else (None, True)
        if other is None:
            left.append(_with_value(argument, waiting))
        elif other.off is not None:
            found[other.name] = is_on
        elif equals or not waiting or (other.says and waiting[0].startswith("-")):
            found[other.name] = value
        else:
            found[other.name] = waiting.pop(0)
    return left, found


def _other(flag: str) -> tuple[OtherName | None, bool]:
    """The option of another server that a flag names, and whether it is switched on."""
    if not flag.startswith("--"):
        return (None if flag in _OWN_SHORT else SHORT.get(flag)), True
    name = flag[2:].replace("-", "_")
    off = OTHER_NAMES.get(name.removeprefix("no_")) if name.startswith("no_") else None
    if off is not None and off.off is not None:
        return off, False
    return (None if name in _NOT_OTHERS else OTHER_NAMES.get(name)), True


def _with_value(argument: str, following: Sequence[str]) -> str:
    """An own option that is a switch elsewhere, with the value that it stands for."""
    meant = BARE.get(argument[2:].replace("-", "_")) if argument.startswith("--") else None
    if meant is None or (following and not following[0].startswith("-")):
        return argument
    return f"{argument}={meant}"
