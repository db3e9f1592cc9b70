"""Idle connections in the parking lot: they cost no worker, wait behind nobody, and outlive workers."""

import os
import signal
import threading
import time

import pytest

from tests.integration.conftest import Serve, is_stuck, parked, reload
from tests.integration.wire import Wire, eventually, request

SOON = 0.2


def test_a_parked_client_is_served_by_a_free_worker_while_its_old_one_is_stuck(serve: Serve) -> None:
    server = serve(workers=2, park_after=SOON)
    wires = [Wire(server.host, server.port) for _ in range(6)]
    try:
        for wire in wires:
            wire.get("/")
        eventually(lambda: parked(server) == 6, "all are parked")
        wires.append(Wire(server.host, server.port))
        wires[-1].send(request("/spin"))
        eventually(lambda: is_stuck(server), "one is stuck")
        for _ in range(2):
            answers = {wire.get("/").json["pid"] for wire in wires[:6]}
            assert len(answers) == 1, "the free worker's"
            eventually(lambda: parked(server) == 6, "they are parked again")
        server.process.send_signal(signal.SIGQUIT)
    finally:
        for wire in wires:
            wire.sock.close()


def test_a_parked_connection_outlives_reloads_and_the_death_of_its_worker(serve: Serve) -> None:
    server = serve(workers=1, park_after=SOON)
    with Wire(server.host, server.port) as wire:
        assert wire.get("/").json["generation"] == 1
        for generation in (2, 3):
            eventually(lambda: parked(server) == 1, "it is parked")
            reload(server, wait=True)
            assert wire.get("/").json["generation"] == generation
        first = wire.get("/").json["pid"]
        eventually(lambda: parked(server) == 1, "it is parked")
        os.kill(first, signal.SIGKILL)
        assert wire.get("/").json["pid"] != first


def test_keep_alive_is_counted_from_the_last_answer_wherever_it_stands(serve: Serve) -> None:
    server = serve(workers=1, park_after=SOON, keep_alive=1.5)
    with Wire(server.host, server.port) as wire:
        wire.get("/")
        eventually(lambda: parked(server) == 1, "it is parked")
        with pytest.raises(EOFError):
            wire.get("/") if wire.sock.recv(1) else wire.more()
    eventually(lambda: parked(server) == 0, "its place is free, in a status that may be half a second old")


def test_to_be_parked_is_no_new_beginning(serve: Serve) -> None:
    server = serve(workers=1, park_after=1.5, keep_alive=2.1)
    with Wire(server.host, server.port) as wire:
        wire.get("/")
        began = time.monotonic()
        assert wire.ended()
        assert 2 < time.monotonic() - began < 3.4, "not 1.5 and 2.1 s"


def test_a_client_that_hangs_up_is_forgotten(common: Serve) -> None:
    server = common(workers=1, park_after=SOON)
    with Wire(server.host, server.port) as wire:
        wire.get("/")
        eventually(lambda: parked(server) == 1, "it is parked")
    eventually(lambda: parked(server) == 0, "it is forgotten")


def test_a_finished_stream_is_parked_and_serves_the_next_request(common: Serve) -> None:
    server = common(workers=1, park_after=SOON)
    eventually(lambda: parked(server) == 0, "nobody is left of another test")
    with Wire(server.host, server.port) as wire:
        wire.get("/sse?n=2", "Accept: text/event-stream")
        eventually(lambda: parked(server) == 1, "it is parked at once")
        assert wire.get("/").json["role"] == "worker"


def test_without_parking_connections_stay_with_their_worker(serve: Serve) -> None:
    server = serve(workers=1, park_after=0)
    with Wire(server.host, server.port) as wire, Wire(server.host, server.port) as stream:
        wire.get("/")
        stream.get("/sse?n=2", "Accept: text/event-stream")
        assert stream.get("/").json["role"] == "worker"
        assert parked(server) == 0


def test_clients_that_come_and_go_in_the_lot_lose_nothing(serve: Serve) -> None:
    """Think times around --park-after: requests meet every state of a connection's move."""
    server = serve(workers=2, park_after=0.05)
    wrong: list[str] = []

    def client(number: int) -> None:
        pause = threading.Event()
        try:
            with Wire(server.host, server.port) as wire:
                for turn in range(6):
                    if wire.get(f"/count?key={number}-{turn}").status != 200:
                        wrong.append("status")
                    pause.wait(0.1 + (number * 37 + turn * 101) % 50 / 100)
        except (OSError, EOFError) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
