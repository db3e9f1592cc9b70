"""Requests that came to the pool only because of their Accept header, and turned out not to be streams.

Clients choose that header, so they may send a request to the pool that should run in a worker; if it computes, it
blocks every stream. Owns the paths found since the last sweep; the workers are told, and keep them
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
"""Paths reported at a time. Clients choose them; one that is missed is found again."""

INCONCLUSIVE_METHODS: Final = ("HEAD", "OPTIONS")
"""Methods whose responses don't show whether a GET or POST would be answered with a stream."""

log = get_logger("hsrv.pool")


class StreamClaims:
    """Of one pool."""

    def __init__(self, config: Config) -> None:
        self._given = Globs(config.stream)
        self._found: set[str] = set()
        self._reported = LearnedPaths()

    def is_given(self, exchange: Exchange) -> bool:
        """Whether the operator has declared it a stream (--stream)."""
        return self._given.match(exchange.head.path)

    def finished(self, exchange: Exchange, reason: EndReason) -> None:
        """A response has ended. Record its path if it was a success but no stream; errors may be due to the client."""
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
            or head.method in INCONCLUSIVE_METHODS
            or self._given.match(head.path)
        ):
            return
        pattern = exchange.pattern()
        if len(self._found) < FOUND_LIMIT and len(pattern) <= PATTERN_LIMIT:
            self._found.add(pattern)

    def take(self) -> list[str]:
        """The paths found since the last call."""
        found, self._found = self._found, set()
        return sorted(found)

    def report_busy(self, exchange: Exchange) -> None:
        """This call blocks the loop, and so every stream. Logged once per path."""
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
    """Calls that count for --limit-concurrency: those that are no streams and don't wait for their client."""

    def __init__(self, census: Census | None) -> None:
        self._census = census
        self._calls: set[Exchange] = set()

    def add(self, exchange: Exchange) -> None:
        """It starts or continues. Neither a stream nor a call whose response is complete is counted."""
        if exchange.is_stream or exchange.encoder.complete:
            self.discard(exchange)
        elif self._census is not None:
            self._calls.add(exchange)
            self._census.set(CensusKind.REQUESTS, len(self._calls))

    def discard(self, exchange: Exchange) -> None:
        """It has ended, waits for its client, or is a stream. May be called again."""
        if self._census is not None:
            self._calls.discard(exchange)
            self._census.set(CensusKind.REQUESTS, len(self._calls))
