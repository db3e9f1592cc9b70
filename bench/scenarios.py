"""The scenarios, as one table."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench import fairness, fanout, lateness, memory, reload, starts, surprise, websocket, wrk, wsgi
from bench.apps.raw import HELLO, LARGE
from bench.meter import Result, metered, per_unit
from bench.process import Failure, Tree, get
from bench.servers import LOG_JSON, LOG_OFF, LOG_TEXT
from bench.tables import Metric
from bench.wrk import Load

JSON_ITEM: Final = {"id": 7, "name": "x", "tags": ["a", "b", "c"], "price": 9.5}
WARM_UP: Final = 1.0

ERRORS: Final = Metric("errors", "errors", 0)
CLIENT: Final = Metric("client", "client busy", 2)
LATENCIES: Final = (Metric("p50", "p50 ms", 2), Metric("p99", "p99 ms", 2))
COST: Final = (Metric("cpu_us", "CPU µs each", 1), Metric("instr", "instructions each", 0))

HTTP: Final = (Metric("rate", "requests/s", 0, more_is_better=True), *LATENCIES, *COST, ERRORS, CLIENT)


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    app: str
    run: Callable[[Tree, float], Result]
    metrics: tuple[Metric, ...] = HTTP
    """The first is the one that is compared and drawn."""
    kinds: tuple[str, ...] = ("asgi",)
    workers: int = 1
    pinned: bool = True
    """Server on one core, client on another."""
    log: str = LOG_OFF
    rounds: int = 99
    """At most so many: for what takes long or hardly varies."""
    uses_wrk: bool = False
    grace: int = 0
    """Seconds that servers give their streams during a reload; 0: their defaults."""
    baseline: str = ""
    """The scenario that this one differs from in one thing, if there is one."""


def over_http(
    load: Load, expected: bytes | None = None, logged: bool = False
) -> Callable[[Tree, float], Result]:
    """Check the answer, warm up, time it, check again."""

    def check(tree: Tree) -> None:
        status, body = get(tree.port, load.path, load.method, load.sent())
        right = json.loads(body) == JSON_ITEM if expected is None else body == expected
        if status != 200 or not right:
            raise Failure(f"a wrong answer: {status}, {len(body)} bytes {body[:40]!r}")

    def run(tree: Tree, seconds: float) -> Result:
        check(tree)
        wrk.run(load, tree.port, WARM_UP)
        size = tree.log.stat().st_size
        with metered(tree) as result:
            measured = wrk.run(load, tree.port, seconds)
        check(tree)
        requests = measured["requests"]
        if not requests:
            raise Failure("nothing was answered")
        if measured["bytes"] < requests * len(expected or b""):
            raise Failure("answers were too short")
        if logged:
            tree.wait_for_lines(size, int(requests))
        result["rate"], result["errors"] = requests / measured["seconds"], measured["errors"]
        result["p50"], result["p99"] = measured["p50_us"] / 1e3, measured["p99_us"] / 1e3
        result["client"] = measured["client"]
        per_unit(result, requests)
        return result

    return run


def http(
    name: str,
    title: str,
    load: Load,
    expected: bytes | None = HELLO,
    *,
    app: str = "raw:app",
    kinds: tuple[str, ...] = ("asgi",),
    log: str = LOG_OFF,
    baseline: str = "",
) -> Scenario:
    """`expected` None: the JSON item."""
    run = over_http(load, expected, log != LOG_OFF)
    return Scenario(name, title, app, run, kinds=kinds, log=log, uses_wrk=True, baseline=baseline)


def beginning(name: str, what: str, path: str) -> Scenario:
    """Streams that begin while `crowd` clients ask for `path`."""
    ways = [
        (crowd, way, percent) for crowd in starts.CROWDS for way in ("new", "kept") for percent in (50, 99)
    ]
    metrics = tuple(
        Metric(f"{way}{crowd}_p{percent}", f"{crowd}: {way} p{percent} ms", 1) for crowd, way, percent in ways
    )
    main = [metric for metric in metrics if metric.key == "new24_p99"]
    title = (
        "Start of an event stream or WebSocket, on a new and on a kept connection, "
        f"beside 8, 24 and 64 clients whose requests {what} for 200 ms each, 8 workers"
    )
    return Scenario(
        name,
        title,
        "raw:app",
        starts.measure(path),
        (
            *main,
            *(one for one in metrics if one not in main),
            Metric("answered", "busy answered", 0),
            Metric("closed", "unanswered and closed", 0),
        ),
        workers=8,
        pinned=False,
        rounds=2,
    )


# fmt: off
SCENARIOS: Final = (
    http("hello", "Raw ASGI hello, keep-alive, 64 connections", Load(), kinds=("asgi", "static")),
    http("fastapi", "FastAPI: JSON with a response model, 64 connections", Load("/items/7?name=x"), None,
         app="fast:app"),
    http("echo", "POST of 10 KiB, echoed, 64 connections",
         Load("/echo", method="POST", body=10240), b"0123456789abcdef" * 640),
    http("connect", "A new connection for each request, 64 at a time", Load(keep_alive=False),
         kinds=("asgi", "static", "wsgi")),
    http("large", "Response of 1 MiB, 16 connections", Load("/large", connections=16), LARGE, kinds=("asgi", "wsgi")),
    http("middleware", "Starlette with one BaseHTTPMiddleware, 64 connections", Load(), app="middle:app"),
    http("wait", "A handler that awaits 50 ms, 128 connections (2,560/s is the limit)", Load("/wait", connections=128)),
    http("log-text", "Hello with a text access log", Load(), log=LOG_TEXT, baseline="hello"),
    http("log-json", "Hello with a JSON access log", Load(), log=LOG_JSON, baseline="hello"),
    http("wsgi", "Bare WSGI hello, keep-alive, 64 connections", Load(), app="plain:app", kinds=("flask",)),
    http("flask", "Flask hello, keep-alive, 64 connections", Load(), app="flasked:app", kinds=("flask",)),
    Scenario("flask-slow", "Flask, 4 workers: 16 ordinary clients beside 8 that read slowly and 8 that send slowly",
             "flasked:app", wsgi.slow, (Metric("rate", "requests/s", 0, more_is_better=True), *LATENCIES, ERRORS),
             kinds=("flask",), workers=4, pinned=False),
    Scenario("flask-streams", "64 event streams of Flask at 10 Hz beside 8 CPU-bound clients, 4 workers", "flasked:app",
             wsgi.streams, (Metric("p99", "p99 ms", 1), Metric("p50", "p50 ms", 1), Metric("max", "max ms", 0),
                            Metric("lost", "ticks lost", 0), Metric("burns", "burns answered", 0)),
             kinds=("flask",), workers=4, pinned=False),
    Scenario("websocket", "WebSocket echo of 64 bytes, 64 connections", "raw:app", websocket.echo,
             (Metric("rate", "messages/s", 0, more_is_better=True), *LATENCIES, *COST, ERRORS, CLIENT)),
    Scenario("fanout", "Event streams: 20 events/s to each of 500 clients, delay from publishing to reading", "raw:app",
             fanout.measure, (Metric("p99", "p99 ms", 1), Metric("p50", "p50 ms", 1), Metric("rate", "events/s", 0),
                              *COST, Metric("lost", "events lost", 0), CLIENT)),
    Scenario("fairness", "1 ms of CPU beside 200 ms: 16 fast and 2 slow kept-alive connections, 4 workers",
             "raw:app", fairness.measure,
             (Metric("p99", "fast p99 ms", 1), Metric("p50", "fast p50 ms", 2), Metric("max", "fast max ms", 0),
              Metric("fast", "fast/s", 0), Metric("slow", "slow/s", 1), ERRORS), workers=4, pinned=False),
    Scenario("surprise", "How long a finished response waits beside a call that turns out to take 20 or 200 ms: 16 fast connections",
             "raw:app", surprise.measure,
             (Metric("wait_p50", "p50 ms", 2), Metric("python_p99", "beside Python: p99 ms", 1), Metric("python_max", "max ms", 1),
              Metric("sleep_p99", "sleep: p99 ms", 1), Metric("sleep_max", "max ms", 1), Metric("c_p99", "C: p99 ms", 1),
              Metric("c_max", "max ms", 1), Metric("gil_p99", "C with the GIL: p99 ms", 1), Metric("gil_max", "max ms", 1),
              Metric("p50", "request p50 ms", 2), Metric("p99", "request p99 ms", 1)), pinned=False, rounds=3),
    Scenario("memory", "8 FastAPI workers, all processes of the server: memory (PSS) and CPU to start", "fast:app",
             memory.start, (Metric("mib", "MiB", 0), Metric("cpu_s", "CPU s to start", 2),
                            Metric("processes", "processes", 0)), kinds=("asgi", "memory"), workers=8, pinned=False, rounds=2),
    Scenario("idle", "Memory of an idle WebSocket (1,000 of them, one worker)", "raw:app", websocket.idle,
             (Metric("kib", "KiB each", 1), ERRORS), rounds=2),
    Scenario("lateness", "Lateness of 200 event streams and 50 WebSockets at 10 Hz beside 8 CPU-bound and 8 blocking clients, 8 workers", "raw:app",
             lateness.measure, (Metric("p99", "p99 ms", 1), Metric("p50", "p50 ms", 1), Metric("max", "max ms", 0),
                                Metric("first", "first tick p99 ms", 0), Metric("lost", "ticks lost", 0),
                                Metric("due", "of", 0), Metric("echo_p99", "echo p99 ms", 1),
                                Metric("echo_max", "echo max ms", 1), Metric("echo_lost", "echoes lost", 0),
                                Metric("burns", "burns answered", 0), Metric("naps", "sleeps answered", 0),
                                Metric("closed", "unanswered and closed", 0)),
             workers=8, pinned=False, rounds=2),
    beginning("starts", "compute", "/burn?200"),
    beginning("starts-sleep", "sleep, in a handler that blocks,", "/blocked"),
    beginning("starts-gil", "hold the GIL in C", "/held"),
    Scenario("reload", "Five reloads (HUP) under 16 kept and 8 new connections, 20 event streams, 20 WebSockets; 2 workers",
             "versioned:app", reload.measure,
             (Metric("failed", "failed requests", 0), Metric("closed", "closed kept connections", 0),
              Metric("cut", "cut streams", 0), Metric("ended", "streams ended properly", 0),
              Metric("new", "all new after ms", 0), Metric("newest", "slowest ms", 0), Metric("asked", "answered", 0)),
             kinds=("reload",), workers=2, pinned=False, grace=reload.GRACE, rounds=2),
)
# fmt: on
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
