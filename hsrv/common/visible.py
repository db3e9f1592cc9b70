"""Escapes untrusted text for a terminal or a log. Pure.

Clients choose paths, applications the names of their tasks and the texts of their errors: all of these go through here
before they are displayed. Promises: the text can't move the cursor, send commands to the terminal, change the text
direction or start a new line.
"""

import re
from typing import Final

_active: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]"
)
"""Characters that end a line, move the cursor or begin a command (C0, C1), change the text direction, or can't be
encoded (surrogates)."""


def visible(text: str) -> str:
    """One line, with these characters escaped."""
    return _active.sub(_escaped, text)


def visible_block(text: str, indent: str = "") -> str:
    """The same for a text of several lines; line feeds are kept, except at the end."""
    return "\n".join(f"{indent}{visible(line.expandtabs(4))}" for line in text.rstrip("\n").split("\n"))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
