"""What the connections of a process share: what it counts, cuts, closes and reports."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from hsrv.board.layout import Count, Gauge
from hsrv.board.scoreboard import Scoreboard, new_board, read_board
from hsrv.board.snapshot import Snapshot
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.terms import EndReason, Identity, Role
from hsrv.http.connection import HTTPConnection
from hsrv.http.host import FRESH_GRACE, HTTPHost
from hsrv.http.overdue import end_overdue
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.options.config import Config

DEADLINE = 10.0
ASK = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}
EVENTS = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/raises":
        raise ValueError("on purpose")
    if scope["path"] == "/now":
        await send(START)
        await send({"type": "http.response.body", "body": b"ok"})
        return
    if scope["path"] != "/silent":
        await send(EVENTS if scope["path"] == "/events" else START)
        await send(PART)
    await asyncio.Event().wait()


class Process:
    """A host, its loop and its clients."""

    def __init__(self, application: Application, config: Config) -> None:
        self.loop = new_loop("asyncio")
        self._board = new_board()
        identity = Identity(Role.WORKER, 1, 1)
        self.host = HTTPHost(identity, config, application, self.loop, Scoreboard(self._board))
        self.clients: list[socket.socket] = []

    @property
    def board(self) -> Snapshot:
        found = read_board(self._board)
        assert found is not None
        return found

    def connect(self, request: bytes = b"") -> HTTPConnection:
        ours, client = socket.socketpair()
        self.clients.append(client)
        ours.setblocking(False)
        client.setblocking(False)
        origin = Origin(client=("192.0.2.1", 1), server=None, accepted_at=self.loop.time())
        connection = HTTPConnection(Conn(ours, self.loop, origin), self.host)
        with self.host.turn:
            self.host.opened(connection)
            connection.start()
        client.sendall(request)
        return connection

    def until(self, condition: Callable[[], object]) -> None:
        async def turn() -> None:
            async with asyncio.timeout(DEADLINE):
                while not condition():  # noqa: ASYNC110  # whatever it is, nothing tells
                    await asyncio.sleep(0.001)

        self.loop.run_until_complete(turn())

    def sweep(self) -> None:
        with self.host.turn:
            self.host.sweep(self.loop.time())

    def close(self) -> None:
        with self.host.turn:
            self.host.cut_all()
        self.until(lambda: not self.host.busy())
        for client in self.clients:
            client.close()
        self.loop.close()
        os.close(self._board)


@contextmanager
def process(**options: Any) -> Iterator[Process]:
    with closing(Process(app, Config(access_log=False, **options))) as found:
        yield found


def test_an_event_stream_is_found_at_once_and_counted_once() -> None:
    with process() as one:
        one.connect(ASK % b"events")
        one.until(lambda: one.board.gauge(Gauge.STREAMS))
        [exchange] = one.host.calls.all
        assert exchange.is_stream
        one.sweep()
        assert one.board.gauge(Gauge.STREAMS) == one.board.totals.count(Count.STREAMS_OPENED) == 1
        one.host.cut_all()
        one.until(lambda: not one.host.calls.all)
        assert one.board.gauge(Gauge.STREAMS) == one.board.gauge(Gauge.IN_FLIGHT) == 0


def test_a_response_that_stays_open_is_found_by_the_sweep() -> None:
    with process(stream_after=0.05) as one:
        one.connect(ASK % b"plain")
        one.until(lambda: one.host.calls.all)
        one.sweep()
        [exchange] = one.host.calls.all
        found = [exchange.is_stream]
        time.sleep(0.06)
        one.sweep()
        assert [*found, exchange.is_stream] == [False, True]
        assert not list(one.host.unfinished())


def test_what_runs_is_reported_with_its_path_and_an_idle_connection_is_not() -> None:
    with process() as one:
        one.connect()
        one.connect(ASK % b"silent")
        one.connect(ASK % b"events")
        one.until(lambda: len(one.host.calls) == 2)
        one.host.tell_board()
        assert (one.board.gauge(Gauge.CONNECTIONS), one.board.gauge(Gauge.IDLE)) == (3, 1)
        found = {(it.kind, it.head.path, it.pattern) for it in one.host.activities() if it.head is not None}
        assert found == {("request", "/silent", ""), ("stream", "/events", "/events")}


def test_an_application_that_raises_is_counted_and_its_client_gets_500() -> None:
    with process() as one:
        one.connect(ASK % b"raises")
        one.until(lambda: one.board.totals.count(Count.APP_ERRORS) == 1)
        one.until(lambda: not one.host.calls.all)
        assert one.clients[0].recv(100).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize("answered", [False, True])
def test_a_drain_closes_idle_connections_but_leaves_a_new_one_time_for_its_request(answered: bool) -> None:
    with process() as one:
        connection = one.connect(ASK % b"now" if answered else b"")
        one.until(lambda: connection.served == answered)
        with one.host.turn:
            one.host.close_idle()
            assert connection.conn.is_open is not answered
            connection.opened_at -= FRESH_GRACE + 0.1
            one.host.close_idle()
        assert not connection.conn.is_open
        assert one.board.totals.ended()[EndReason.DRAINED] == 1


def test_what_is_cut_is_counted_and_its_application_cancelled() -> None:
    with process() as one:
        one.connect()
        one.connect(ASK % b"silent")
        one.connect(ASK % b"plain")
        one.until(lambda: len(one.host.calls) == 2)
        tasks = [exchange.task for exchange in one.host.calls.all]
        with one.host.turn:
            assert one.host.cut_all() == 2, "the idle one is no loss"
        one.until(lambda: not one.host.busy())
        assert all(task is not None and task.cancelled() for task in tasks)


def test_a_request_that_takes_too_long_is_answered_with_504() -> None:
    with process(request_timeout=0.05) as one:
        one.connect(ASK % b"silent")
        one.until(lambda: one.host.calls.all)
        with one.host.turn:
            end_overdue(one.host, "")
        assert len(one.host.calls) == 1, "not yet"
        time.sleep(0.06)
        with one.host.turn:
            end_overdue(one.host, "")
        one.until(lambda: not one.host.calls.all)
        assert one.clients[0].recv(100).startswith(b"HTTP/1.1 504 ")
        assert one.board.totals.count(Count.TIMED_OUT) == 1


def test_the_request_of_a_task_is_known_to_another_thread() -> None:
    with process() as one:
        one.connect(ASK % b"silent")
        one.connect(ASK % b"events")
        one.until(lambda: len(one.host.calls) == 2)
        found = {one.host.occupant(task) for exchange in one.host.calls.all if (task := exchange.task)}
        assert {occupant.path for occupant in found if occupant} == {b"/silent", b"/events"}
