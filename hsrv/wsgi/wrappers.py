"""WSGI applications around the user's, for options that change responses.

`--server-timing` (`hsrv.app.servertiming`) and `--reload-browser` (`hsrv.develop.devpages`).
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hsrv.logs.logging import current_trace

WSGIApplication = Callable[[Any, Any], Iterable[bytes]]


def with_server_timing(inner: WSGIApplication) -> WSGIApplication:
    """The application, wrapped so that its responses carry the header."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        called_at = time.monotonic()
        trace = current_trace.get()
        waited = called_at - trace.received_at if trace is not None and trace.received_at else None

        def timed(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            took = f"app;dur={(time.monotonic() - called_at) * 1000:.3f}"
            value = took if waited is None else f"queue;dur={waited * 1000:.3f}, {took}"
            return start_response(status, [*headers, ("Server-Timing", value)], *exc_info)

        return inner(environ, timed)

    return app


def with_refresh(inner: WSGIApplication, generation: int) -> WSGIApplication:
    """The application, with HTML pages that reload once another generation serves. The script is the last block of a
    page: none is held back for it."""
    from hsrv.develop.brokenpage import inject  # noqa: PLC0415  # for development
    from hsrv.develop.devpages import script_of  # noqa: PLC0415  # for development

    script = inject(b"", script_of(generation))

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD":
            return inner(environ, start_response)
        page = _Page(start_response)
        blocks = inner(environ, page.start)
        return _WithScript(blocks, page, script)

    return app


class _Page:
    """What the headers of a response tell."""

    def __init__(self, start_response: Any) -> None:
        self._start_response = start_response
        self.takes_a_script = False

    def start(self, status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        given = {name.lower(): value for name, value in headers}
        self.takes_a_script = (
            given.get("content-type", "").lower().startswith("text/html")
            and "content-encoding" not in given
            and "content-security-policy" not in given
            and status[:3] not in ("204", "304")
        )
        if self.takes_a_script:
            headers = [field for field in headers if field[0].lower() != "content-length"]
        return self._start_response(status, headers, *exc_info)


class _WithScript:
    """The blocks, and the script behind them."""

    def __init__(self, blocks: Iterable[bytes], page: _Page, script: bytes) -> None:
        self._blocks = blocks
        self._page = page
        self._script = script

    def __iter__(self) -> Iterator[bytes]:
        yield from self._blocks
        if self._page.takes_a_script:
            yield self._script

    def close(self) -> None:
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()
