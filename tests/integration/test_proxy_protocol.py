"""--proxy-protocol against the real server."""

import signal
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from hsrv.testing import LiveServer
from tests.integration.conftest import Serve, command_line, operate, pids, workers_only
from tests.integration.wire import Response, Wire, eventually, request, upgrade
from tests.unit.http.wire.test_proxy import INET, TCP4, TCP6, TLV, v2

CLIENT, SERVER = ["192.0.2.1", 56324], ["198.51.100.2", 443]
V2_TCP4 = v2(0x21, 0x11, INET + TLV)
V2_LOCAL = v2(0x20, 0x00, b"")


def ask(server: LiveServer, data: bytes) -> Response:
    with Wire(server.host, server.port) as wire:
        wire.send(data)
        return wire.response()


def shut_out(server: LiveServer, data: bytes) -> bool:
    """Whether the server closes without a word."""
    with Wire(server.host, server.port) as wire:
        try:
            wire.send(data)
            return wire.sock.recv(1) == b""
        except ConnectionError:
            return True


def is_refusal(count: int, entry: dict[str, Any]) -> bool:
    return bool(entry["event"] == "proxy refused" and entry["count"] == count)


def requests(server: LiveServer) -> int:
    """How many lines of the access log."""
    return sum(entry["event"] == "request" for entry in server.logs)


def accessed(server: LiveServer, path: str) -> dict[str, Any]:
    return server.wait_for_log(lambda entry: entry["event"] == "request" and entry["path"] == path)


@pytest.mark.parametrize("mode", ["v1", "v2", "auto"])
def test_the_addresses_of_the_header_are_those_of_the_connection(common: Serve, mode: str) -> None:
    server = common(proxy_protocol=mode)
    header = V2_TCP4 if mode == "v2" else TCP4
    with Wire(server.host, server.port) as wire:
        wire.send(header + request("/scope/first"))
        first = wire.response().json
        assert (first["client"], first["server"]) == (CLIENT, SERVER)
        second = wire.get("/scope?again").json
        assert (second["client"], second["server"]) == (CLIENT, SERVER)
        wire.send(header + request("/"))
        assert wire.response().status == 400, "a connection has one header"
    assert accessed(server, "/scope/first")["client"] == CLIENT[0]


def test_a_header_may_come_in_any_pieces(common: Serve) -> None:
    server = common(proxy_protocol="auto")
    for header in (TCP4, V2_TCP4):
        whole = header + request("/scope")
        with Wire(server.host, server.port) as wire:
            for byte in whole:
                wire.send(bytes([byte]))
            assert wire.response().json["client"] == CLIENT
        for cut in range(1, len(whole)):
            with Wire(server.host, server.port) as wire:
                wire.send(whole[:cut])
                wire.send(whole[cut:])
                assert wire.response().json["client"] == CLIENT, cut


def test_a_proxy_that_speaks_for_itself_keeps_its_address(common: Serve) -> None:
    server = common(proxy_protocol="auto")
    for header in (V2_LOCAL, b"PROXY UNKNOWN\r\n", b""):
        found = ask(server, header + request("/scope")).json
        assert (found["client"][0], found["server"]) == ("127.0.0.1", [server.host, server.port])


@pytest.mark.parametrize(
    ("mode", "headers"),
    [
        ("v1", [b"", V2_TCP4, b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"]),
        ("v2", [b"", TCP4, v2(0x21, 0x11, b"")]),
        ("auto", [b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", v2(0x21, 0x11, b"")]),
    ],
    ids=["v1", "v2", "auto"],
)
def test_a_trusted_proxy_without_a_proper_header_is_shut_out(
    common: Serve, mode: str, headers: list[bytes]
) -> None:
    server = common(proxy_protocol=mode)
    before = requests(server)
    for header in headers:
        with workers_only(server):  # each process counts for itself
            for _ in range(5):
                assert shut_out(server, header + request("/")), header
        line = server.wait_for_log(partial(is_refusal, 4))
        assert line["peer"][0] == "127.0.0.1"
        assert line["reason"]
    counts = [entry["count"] for entry in server.logs if entry["event"] == "proxy refused"]
    assert counts.count(1) <= len(headers), "each reason is told"
    assert set(counts) <= {1, 2, 4, 8}, "and then ever more rarely"
    assert requests(server) == before


def test_a_header_that_does_not_come_ends_the_connection(serve: Serve) -> None:
    server = serve(proxy_protocol="v1", header_timeout=0.3)
    assert shut_out(server, b"")
    assert shut_out(server, b"PROXY TCP4 1.2.3.4")
    late = "no PROXY header within --header-timeout"
    server.wait_for_log(lambda entry: entry.get("reason") == late and entry["count"] == 2)
    with Wire(server.host, server.port) as wire:
        wire.send(TCP4[:9])
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.ended()
    server.wait_for_log(lambda entry: entry.get("reason") == "the PROXY header is incomplete")


def test_who_connects_and_goes_is_no_fault(serve: Serve) -> None:
    """The health check of many a load balancer."""
    server = serve(proxy_protocol="v2", header_timeout=60)
    with Wire(server.host, server.port) as wire:
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.ended()
    with Wire(server.host, server.port) as silent:
        assert ask(server, V2_TCP4 + request("/")).status == 200
        status = operate(server, "status").stdout
        assert "preface" not in status, "it is no work in progress"
        assert server.stop() == 0, "and holds up no stop"
        assert silent.ended()
    assert "proxy refused" not in server.output


def test_nobody_else_gets_in_where_a_header_is_required(serve: Serve) -> None:
    server = serve(proxy_protocol="v1", proxy_protocol_from=["192.0.2.0/24", "unix"])
    with workers_only(server):  # each process counts for itself
        for data in (TCP4 + request("/"), V2_TCP4 + request("/"), request("/"), request("/")):
            assert shut_out(server, data)
    line = server.wait_for_log(lambda entry: entry["event"] == "connection refused" and entry["count"] == 4)
    assert [entry["count"] for entry in server.logs if entry["event"] == "connection refused"] == [1, 2, 4]
    assert line["peer"][0] == "127.0.0.1"
    assert not [entry for entry in server.logs if entry["event"] == "request"]


def test_nobody_else_is_believed_where_it_is_not(serve: Serve) -> None:
    server = serve(proxy_protocol="auto", proxy_protocol_from=["192.0.2.0/24"])
    assert ask(server, TCP4 + request("/")).status == 400
    assert ask(server, V2_TCP4 + request("/")).status == 400
    assert ask(server, request("/scope")).json["client"][0] == "127.0.0.1"


POOLED: dict[str, Any] = {
    "proxy_protocol": "v1",
    "forwarded_allow_ips": ["127.0.0.1", "2001:db8::/32"],
    "stream": ["/scope"],
}


def test_what_the_client_forwards_is_judged_by_its_own_address(common: Serve) -> None:
    server = common(**POOLED)
    asked = request("/scope", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    found = ask(server, TCP4 + asked).json
    assert (found["client"], found["scheme"]) == (CLIENT, "http")
    found = ask(server, TCP6 + asked).json
    assert (found["client"], found["scheme"]) == (["203.0.113.7", 0], "https")


def test_the_addresses_go_along_to_the_pool_and_back(common: Serve) -> None:
    server = common(**POOLED)
    before = requests(server)
    with Wire(server.host, server.port) as wire:
        wire.send(TCP4 + request("/scope"))
        assert wire.response().json["client"] == CLIENT
        assert wire.get("/").json["role"] == "worker"
        assert wire.get("/scope").json["client"] == CLIENT
    with Wire(server.host, server.port) as wire:
        wire.send(TCP4 + upgrade("/ws"))
        assert wire.response().status == 101
    assert accessed(server, "/ws")["client"] == CLIENT[0]
    lines = [entry for entry in server.logs if entry["event"] == "request"][before:]
    earlier = ("pool", "2001:db8::1")  # a WebSocket of another test, which may end only now
    assert {(entry["role"], entry["client"]) for entry in lines} - {earlier} == {
        ("pool", CLIENT[0]),
        ("worker", CLIENT[0]),
    }


def test_a_header_that_is_half_read_goes_along_to_another_worker(serve: Serve) -> None:
    server = serve(proxy_protocol="auto", header_timeout=60)
    [worker] = pids(server, "worker")
    with ExitStack() as stack:
        wires = {}
        with workers_only(server):
            for sent in (0, 1, 20, len(V2_TCP4) - 1, len(V2_TCP4)):
                wires[sent] = wire = stack.enter_context(Wire(server.host, server.port))
                wire.send(V2_TCP4[:sent])
            eventually(lambda: all(held(worker, wire) for wire in wires.values()), "a worker has them")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(lambda entry: entry["event"] == "reloaded")
        eventually(lambda: worker not in pids(server, "worker"), "the old worker is gone")
        for sent, wire in wires.items():
            wire.send(V2_TCP4[sent:] + request("/scope"))
            assert wire.response().json["client"] == CLIENT, sent
            assert wire.get("/").json["generation"] == 2, sent


def held(worker: int, wire: Wire) -> bool:
    """Whether this worker has accepted the connection."""
    peers = [one.raddr for one in psutil.Process(worker).net_connections(kind="tcp")]
    return tuple(wire.sock.getsockname()) in map(tuple, peers)


def test_the_peer_of_a_unix_socket_may_be_a_proxy(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    server = serve(proxy_protocol="v1", bind=["127.0.0.1:0", f"unix:{path}"], proxy_protocol_from=["unix"])
    assert shut_out(server, TCP4 + request("/"))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        sock.sendall(TCP4 + request("/scope", "Connection: close"))
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert b'"client": ["192.0.2.1", 56324]' in answer


def test_a_network_that_is_none_is_refused() -> None:
    done = command_line(
        "start", "tests.apps.raw:app", "--proxy-protocol", "v3", "--proxy-protocol-from", "10.0.0.0/33"
    )
    assert done.returncode == 2
    assert "v3" in done.stderr
    assert "10.0.0.0/33" in done.stderr
