"""The choice of what splits request heads. What is accepted of them, `hsrv.http.head` decides for all."""

from collections.abc import Mapping
from typing import Final

from hsrv.http.parser_h11 import H11HeadParser
from hsrv.http.raw import HeadParser, RawHead

__all__ = ["PARSERS", "HeadParser", "RawHead", "choose_parser"]

PARSERS: Final[Mapping[str, type[HeadParser]]] = {"h11": H11HeadParser}
"""By the value of the option `http`."""

_BEST: Final = "h11"


def choose_parser(name: str) -> HeadParser:
    """The parser of that name; "auto" is the best that is installed. Raises KeyError."""
    return PARSERS[_BEST if name == "auto" else name]()
