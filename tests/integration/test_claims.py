"""Requests that name text/event-stream in Accept and are answered with something else."""

from contextlib import ExitStack
from typing import Any

import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve, reasons
from tests.integration.wire import Wire, eventually, request

CLAIM = "Accept: text/event-stream"


def role(server: LiveServer, path: str, *fields: str) -> str:
    with Wire(server.host, server.port) as wire:
        return str(wire.get(path, *fields).json["role"])


def test_a_path_that_answered_otherwise_runs_in_the_workers_from_then_on(serve: Serve) -> None:
    server = serve(workers=2)
    assert role(server, "/?x=1", CLAIM) == "pool", "it might have been one"
    eventually(lambda: role(server, "/?x=2", CLAIM) == "worker", "it is learned")
    assert {role(server, "/", CLAIM) for _ in range(10)} == {"worker"}, "by all workers"
    assert role(server, "/count", CLAIM) == "pool", "of others nothing is known"
    with Wire(server.host, server.port) as wire:
        for _ in range(3):
            assert b'"role": "pool"' in wire.get("/sse?n=1", CLAIM).body


def test_neither_an_error_nor_a_head_makes_a_path_none_of_streams(serve: Serve) -> None:
    server = serve(workers=1)
    for _ in range(3):
        with Wire(server.host, server.port) as wire:
            assert wire.get("/nothing", CLAIM).status == 404
            wire.get("/", CLAIM, method="HEAD")
    eventually(
        lambda: role(server, "/count", CLAIM) == "worker", "what teaches something is learned meanwhile"
    )
    assert role(server, "/", CLAIM) == "pool"


def test_until_it_is_a_stream_a_request_in_the_pool_has_the_time_of_a_request(serve: Serve) -> None:
    server = serve(workers=1, request_timeout=0.8)
    with Wire(server.host, server.port) as stream, Wire(server.host, server.port) as wire:
        stream.send(request("/sse?n=25&interval=0.1", CLAIM))
        assert wire.get("/sleep?s=30", CLAIM).status == 504
        line = server.wait_for_log(lambda line: line["event"] == "request timed out")
        assert (line["role"], line["path"]) == ("pool", "/sleep")
        assert stream.response().body.count(b"id: ") == 25, "a stream has as long as it likes"


GIVEN: dict[str, Any] = {"workers": 1, "request_timeout": 0.5, "stream": ["/sleep*"]}


@pytest.mark.parametrize("target", ["/sse-late?s=1.2", "/sleep?s=1.2"])
def test_what_is_said_to_be_a_stream_may_be_silent_for_longer_than_that(common: Serve, target: str) -> None:
    """By the head of its response, or by the operator."""
    server = common(**GIVEN)
    with Wire(server.host, server.port) as wire:
        assert wire.get(target, CLAIM).status == 200


def test_until_it_is_a_stream_a_request_in_the_pool_counts_as_a_request(serve: Serve) -> None:
    server = serve(workers=2, limit_concurrency=2)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.host, server.port)) for _ in range(6)]
        for wire in wires[:3]:
            wire.send(request("/sse", CLAIM))
            wire.until(b"\n\n")
        for wire in wires[3:5]:
            wire.send(request("/until-disconnect", CLAIM))

        def refused(*fields: str) -> bool:
            with Wire(server.host, server.port) as wire:
                return wire.get("/", *fields).status == 503

        eventually(refused, "both are counted")
        assert refused(CLAIM)
        wires[3].sock.close()
        eventually(lambda: not refused(), "one has ended")
    assert reasons(server)["limit_concurrency"] >= 2


def test_what_computes_in_the_pool_is_named_and_does_so_only_once(serve: Serve) -> None:
    server = serve(workers=2)
    with Wire(server.host, server.port) as wire:
        assert wire.get("/burn?s=1.2", CLAIM).status == 200
    line = server.wait_for_log(lambda line: line["event"] == "a request holds up the streams")
    assert (line["role"], line["path"], line["method"]) == ("pool", "/burn", "GET")
    assert line["hint"] == "--no-stream '/burn'"
    assert line["request_id"]
    eventually(lambda: b"worker" in burnt(server), "it is learned")


def burnt(server: LiveServer) -> bytes:
    with Wire(server.host, server.port) as wire:
        return wire.get("/burn?s=0.01", CLAIM).body


def test_what_the_operator_gives_to_the_pool_stays_there(common: Serve) -> None:
    server = common(**GIVEN)
    for _ in range(3):
        assert role(server, "/sleep?s=0.3", CLAIM) == "pool"
    eventually(lambda: role(server, "/", CLAIM) == "worker", "what others teach is learned meanwhile")
    assert role(server, "/sleep?s=0", CLAIM) == "pool"
