"""What a parser makes of a request head, and what a parser is. `hsrv.http.wire.parser` chooses among them. Pure."""

from typing import NamedTuple, Protocol

from hsrv.common.request import Headers


class RawHead(NamedTuple):
    """A head in its parts."""

    method: bytes
    target: bytes
    version: bytes
    """b"1.0" or b"1.1"."""
    headers: Headers
    """Names in lower case, values without surrounding blanks, in the order received."""


class HeadParser(Protocol):
    """Splits one head. It decides nothing: what is acceptable must not differ from parser to parser."""

    name: str

    def __call__(self, block: bytes) -> RawHead:
        """The parts of a whole head, final empty line included. Raises ClientError(400)."""
        ...
