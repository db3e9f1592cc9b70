"""Requests that came to the pool for their Accept alone: which of them turned out not to be streams.

A client chooses that header, so it may send here what should run in a worker, and what computes here holds up every
stream. Owns what was found since the last sweep; the workers are told, and keep such paths
(`hsrv.common.globs.PassingPaths`).
"""

from typing import Final

from hsrv.board.census import Census, CensusKind
from hsrv.common.globs import PATTERN_LIMIT, Globs, LearnedPaths
from hsrv.common.terms import EndReason
from hsrv.http.host import trace_context
from hsrv.http.request.exchange import Exchange
from hsrv.logs.logging import get_logger
from hsrv.options.config import Config

FOUND_LIMIT: Final = 64
"""Paths that are told at a time. Clients choose them: what is missed is found again."""

TEACHES_NOTHING: Final = ("HEAD", "OPTIONS")
"""Methods whose responses say nothing of what GET and POST would be answered with."""

log = get_logger("hsrv.pool")


class StreamClaims:
    """Of one pool."""

    def __init__(self, config: Config) -> None:
        self._given = Globs(config.stream)
        self._found: set[str] = set()
        self._reported = LearnedPaths()

    def is_given(self, exchange: Exchange) -> bool:
        """The operator has said (--stream) that it is a stream, before anything of its response was seen."""
        return self._given.match(exchange.head.path)

    def finished(self, exchange: Exchange, reason: EndReason) -> None:
        """A response is over. A success that was no stream says so of its path; an error may be the client's."""
        head, encoder = exchange.head, exchange.encoder
        if (
            not head.event_stream
            or exchange.is_stream
            or encoder.event_stream
            or not 200 <= encoder.status < 300
        ):
            return
        if (
            reason is not EndReason.COMPLETED
            or head.method in TEACHES_NOTHING
            or self._given.match(head.path)
        ):
            return
        pattern = exchange.pattern()
        if len(self._found) < FOUND_LIMIT and len(pattern) <= PATTERN_LIMIT:
            self._found.add(pattern)

    def take(self) -> list[str]:
        """What was found since this was asked last."""
        found, self._found = self._found, set()
        return sorted(found)

    def report_busy(self, exchange: Exchange) -> None:
        """This call blocks the event loop, and so every stream. Logged once for each path."""
        pattern = exchange.pattern()
        if pattern in self._reported:
            return
        self._reported.add([pattern])
        log.warning(
            "a request holds up the streams",
            method=exchange.head.method,
            path=exchange.head.path,
            hint="let it compute in a thread" if exchange.is_stream else f"--no-stream '{pattern}'",
            **trace_context(exchange.trace),
        )


class UnansweredRequests:
    """Calls that count for --limit-concurrency: those that are not found to be streams, and don't wait for their
    client."""

    def __init__(self, census: Census | None) -> None:
        self._census = census
        self._calls: set[Exchange] = set()

    def add(self, exchange: Exchange) -> None:
        """It runs, or goes on. A stream, and a call whose response is complete, are not counted."""
        if exchange.is_stream or exchange.encoder.complete:
            self.discard(exchange)
        elif self._census is not None:
            self._calls.add(exchange)
            self._census.set(CensusKind.REQUESTS, len(self._calls))

    def discard(self, exchange: Exchange) -> None:
        """It is over, waits, or is a stream. May be called again."""
        if self._census is not None:
            self._calls.discard(exchange)
            self._census.set(CensusKind.REQUESTS, len(self._calls))
