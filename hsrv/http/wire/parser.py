"""The choice of what splits request heads. What is accepted of them, `hsrv.http.wire.head` decides for all. Pure."""

from collections.abc import Mapping
from typing import Final

from hsrv.http.wire.parser_h11 import H11HeadParser
from hsrv.http.wire.parser_split import SplitHeadParser
from hsrv.http.wire.raw import HeadParser, RawHead

__all__ = ["PARSERS", "HeadParser", "RawHead", "choose_parser"]

PARSERS: Final[Mapping[str, type[HeadParser]]] = {"h11": H11HeadParser, "split": SplitHeadParser}
"""By the value of the option `http`."""

_BEST: Final = "split"


_made: Final = {name: parser() for name, parser in PARSERS.items()}


def choose_parser(name: str) -> HeadParser:
    """The parser of that name; "auto" is the fastest. The same one each time: they keep nothing. Raises KeyError."""
    return _made[_BEST if name == "auto" else name]
