"""Text of others, as a terminal or a log may show it. Pure.

Clients choose paths, applications the names of their tasks and the texts of their errors: whatever of these is shown to
a person goes through here. Promises: nothing of it moves the cursor, speaks to the terminal, reverses what is read, or
begins a line of its own.
"""

import re
from typing import Final

_active: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]"
)
"""What ends a line, moves the cursor or begins a command (C0, C1), reverses the order of what is read, or can't be
written at all (surrogates)."""


def visible(text: str) -> str:
    """In one line, with an escape in place of each character that would act."""
    return _active.sub(_escaped, text)


def visible_block(text: str, indent: str = "") -> str:
    """The same of a text of several lines, which it keeps; without the line feed at its end."""
    return "\n".join(f"{indent}{visible(line.expandtabs(4))}" for line in text.rstrip("\n").split("\n"))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
