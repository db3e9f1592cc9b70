"""Request heads split in place: no dependency, and faster than a C parser that calls back for every field.

That is possible because the head passed the grammar of `hsrv.http.head` before: what is left to do is to cut at the
separators, each of which can stand in one place only.
"""

from hsrv.errors import ClientError
from hsrv.http.events import Headers
from hsrv.http.raw import RawHead


class SplitHeadParser:
    """Cuts lines at CRLF, the request line at its blanks, fields at their first colon."""

    name = "split"

    def __call__(self, block: bytes) -> RawHead:
        if not block.endswith(b"\r\n\r\n"):
            raise ClientError(400, "incomplete request head")
        lines = iter(block[:-4].split(b"\r\n"))
        try:
            method, target, protocol = next(lines).split(b" ")
        except ValueError:
            raise ClientError(400, "malformed request line") from None
        headers: Headers = []
        for line in lines:
            name, _, value = line.partition(b":")
            headers.append((name.lower(), value.strip(b" \t")))
        return RawHead(method, target, protocol[5:], headers)
