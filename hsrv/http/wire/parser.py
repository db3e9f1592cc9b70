"""The choice of what splits request heads. What is accepted of them, `hsrv.http.wire.head` decides for all. Pure."""

from functools import cache
from typing import Final

from hsrv.http.wire.parser_split import SplitHeadParser
from hsrv.http.wire.raw import HeadParser, RawHead

__all__ = ["PARSERS", "HeadParser", "RawHead", "choose_parser"]

PARSERS: Final = ("h11", "split")
"""Values of the option `http`."""

_BEST: Final = "split"


def choose_parser(name: str) -> HeadParser:
    """The parser of that name; "auto" is the fastest. The same one each time: they keep nothing. Raises KeyError."""
    return _parser(_BEST if name == "auto" else name)


@cache
def _parser(name: str) -> HeadParser:
    if name == "h11":
        from hsrv.http.wire.parser_h11 import H11HeadParser  # noqa: PLC0415  # most servers have no use for h11

        return H11HeadParser()
    return {"split": SplitHeadParser}[name]()
