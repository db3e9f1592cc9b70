"""How a connection enters a process, and what those are told that may not.

Promises: with --proxy-protocol, where a header is required, a peer that may not send one is never served; a connection
over a limit gets 503 before anything of a request is read; every refusal is counted and logged with its reason.
"""

import contextlib
import socket
from typing import Final

from msgspec.structs import replace

from hsrv.board.census import Census, CensusKind
from hsrv.board.layout import Count
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason, ProxyProtocol
from hsrv.http.connection import HTTPConnection
from hsrv.http.contract import Connection, Outcome
from hsrv.http.host import HTTPHost
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.http.wire.response import unavailable
from hsrv.ipc.messages import Origin, Trace
from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.conn import RECEIVE_SIZE, Conn
from hsrv.net.poller import Poller
from hsrv.options.config import Config

TURNED_AWAY_LIMIT: Final = 64
"""Connections over a limit that have the time to read their 503. More at a time are reset."""

log = get_logger("hsrv.admission")


def over_limit(origin: Origin, census: Census, settings: Config) -> EndReason | None:
    """The limit that is exceeded by this connection, which is counted already."""
    if settings.limit_connections and census.total(CensusKind.CONNECTIONS) > settings.limit_connections:
        return EndReason.LIMIT_CONNECTIONS
    most = settings.limit_connections_per_client
    if most and not origin.proxy_header and census.of_client(origin.client) > most:
        return EndReason.LIMIT_CLIENT
    return None


def over_concurrency(census: Census | None, settings: Config) -> bool:
    """Whether as many requests are in progress as --limit-concurrency allows."""
    limit = settings.limit_concurrency
    return bool(limit) and census is not None and census.total(CensusKind.REQUESTS) >= limit


class Admission:
    """Admits connections to the host of a worker or pool (`hsrv.serving.accept.Admits`)."""

    def __init__(self, host: HTTPHost, poller: Poller | None = None) -> None:
        """`poller`: watches new connections, instead of the loop's own."""
        settings = host.settings
        self._host = host
        self._poller = poller
        self._proxies = TrustedProxies(settings.proxy_protocol_from)
        """Peers whose PROXY header is believed."""
        self._proxied = settings.proxy_protocol is not ProxyProtocol.OFF
        self._turned_away: set[Connection] = set()
        """Those that got 503 for a limit and may still be reading it."""

    # new connections

    def accepted(self, sock: socket.SocketType, origin: Origin, *, at_once: bool) -> Outcome:
        if not self._proxied:
            return self._admit(sock, origin, at_once)
        host = self._host
        if self._proxies.trusts(origin.client):
            return self._admit(sock, replace(origin, proxy_header=True), at_once)
        if host.settings.proxy_protocol is ProxyProtocol.AUTO:
            return self._admit(sock, origin, at_once)
        sock.close()
        host.count(EndReason.UNTRUSTED_PEER)
        if count := lines_due("connection refused", EndReason.UNTRUSTED_PEER):
            why = "not in --proxy-protocol-from"
            log.warning("connection refused", reason=why, peer=origin.client, count=count)
        return Outcome.REFUSED

    def _admit(self, sock: socket.SocketType, origin: Origin, at_once: bool) -> Outcome:
        host = self._host
        if host.observer is not None:
            origin = host.observer.opened(origin)
        host.board.count(Count.ACCEPTED)
        calls = len(host.calls)
        conn = Conn(sock, host.loop, origin)
        if self._poller is not None:
            conn.watch_by(self._poller)
        connection = HTTPConnection(conn, host)
        host.opened(connection)
        limit = host.census is not None and over_limit(connection.conn.origin, host.census, host.settings)
        if limit:
            self._turn_away(connection, limit)
        else:
            connection.start(at_once=at_once)
        if connection.conn.is_open or len(host.calls) != calls:  # a call may outlive its connection
            return Outcome.HERE
        return Outcome.OVER

    def enter(self, conn: Conn) -> HTTPConnection:
        """A connection that came from another process. It counts for the limits, and none of them refuses it."""
        connection = HTTPConnection(conn, self._host)
        self._host.opened(connection)
        return connection

    # limits

    def identified(self, connection: Connection) -> Outcome:
        """The client behind a proxy is known: count the connection as that client's."""
        census = self._host.census
        if census is None:
            return Outcome.HERE
        census.leave(connection.conn)
        census.enter(connection.conn)
        limit = over_limit(connection.conn.origin, census, self._host.settings)
        if limit:
            self._turn_away(connection, limit)
        return Outcome.REFUSED if limit else Outcome.HERE

    def _turn_away(self, connection: Connection, cause: EndReason) -> None:
        """Answer with 503 before any request. Of many at a time only some get the time to read it."""
        host = self._host
        if host.observer is not None:
            host.observer.refused(connection.conn.origin, 503, str(cause))
        connection.cause = cause
        host.count(cause)
        if host.census is not None:
            host.census.leave(connection.conn)  # refused connections must not keep others out
        if count := lines_due("connection refused", cause):
            peer = connection.conn.origin.client
            log.warning("connection refused", reason=cause, peer=peer, count=count)
        if len(self._turned_away) >= TURNED_AWAY_LIMIT:
            connection.abort(cause)
        else:
            self._turned_away.add(connection)
            connection.answer_unavailable()

    def closed(self, connection: Connection) -> None:
        """One that was refused has left this process."""
        self._turned_away.discard(connection)

    # 503

    def refuse_unread(self, sock: socket.SocketType, origin: Origin) -> None:
        """Answer with 503 and close, without waiting: no descriptor is left for the connection. What it has sent by now
        is read, so that closing it causes no reset."""
        self._host.count(EndReason.DESCRIPTORS)
        with contextlib.closing(sock), contextlib.suppress(OSError):
            with contextlib.suppress(BlockingIOError):
                sock.recv(RECEIVE_SIZE)
            sock.send(unavailable(self._host.default_headers()))

    def refuse_request(
        self, connection: Connection, head: RequestHead, trace: Trace, why: str, cause: EndReason
    ) -> None:
        """Answer a request whose head was read with 503."""
        connection.wait(head, trace, 0.0)
        self._host.shed(connection, why, cause)

    def refuse_concurrency(self, connection: Connection, head: RequestHead, trace: Trace) -> None:
        """Answer a request that exceeds --limit-concurrency with 503."""
        why = "--limit-concurrency is reached"
        self.refuse_request(connection, head, trace, why, EndReason.LIMIT_CONCURRENCY)
