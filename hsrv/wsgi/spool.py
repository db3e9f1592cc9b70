"""The body of a request, whole before a WSGI application is called: `wsgi.input`.

What it holds is complete, seekable and ends where the body does, so that reading never waits for the client. It is kept
in memory up to --body-buffer bytes, then in a file of $TMPDIR that has no name. Who sends slowly holds a connection,
and no place of a call.
"""

import tempfile
from io import BytesIO
from typing import IO

from hsrv.http.request.call import wait_for_news
from hsrv.http.request.exchange import Exchange
from hsrv.options.config import Config


class Spool:
    """Takes the body, part by part."""

    __slots__ = ("_limit", "_size", "file")

    def __init__(self, limit: int) -> None:
        """`limit`: bytes in memory."""
        self._limit = limit
        self._size = 0
        self.file: IO[bytes] = BytesIO()

    def add(self, data: bytes) -> None:
        """Raises OSError if there is no room for it."""
        if self._size <= self._limit < self._size + len(data):
            stored = self.file
            self.file = tempfile.TemporaryFile(prefix="hsrv-body-")  # noqa: SIM115  # closed by the call
            self.file.write(stored.getbuffer())  # type: ignore[attr-defined]  # so far it was a BytesIO
        self.file.write(data)
        self._size += len(data)

    def rewind(self) -> int:
        """To the beginning; the size."""
        self.file.seek(0)
        return self._size


async def read_body(exchange: Exchange, settings: Config) -> Spool | None:
    """Wait for all of the body. None: it will never be complete, and the client was told or is gone. Raises OSError if
    it can't be stored."""
    spool = Spool(settings.body_buffer)
    try:
        while True:
            message = exchange.next_message()
            if message is None:
                await wait_for_news(exchange)
            elif message["type"] == "http.disconnect":
                spool.file.close()
                return None
            else:
                spool.add(message["body"])
                if not message["more_body"]:
                    return spool
    except BaseException:
        spool.file.close()
        raise
    finally:
        del exchange
