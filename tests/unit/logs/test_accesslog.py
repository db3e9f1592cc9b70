"""Lines of the access log: atoms, escapes, JSON."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from select import PIPE_BUF
from typing import Any, Literal

import pytest

from hsrv.common.errors import ConfigError
from hsrv.common.terms import EndReason
from hsrv.ipc.messages import Trace
from hsrv.logs.accesslog import (
    ATOMS,
    DEFAULT_FORMAT,
    WAITING_LIMIT,
    AccessLog,
    AccessRecord,
    compile_format,
    logged_status,
)
from hsrv.logs.logging import line_writer
from hsrv.options.config import Config
from hsrv.sources.sources import load_config


def record(**changes: Any) -> AccessRecord:
    fields: dict[str, Any] = {
        "method": "GET",
        "target": b"/items/7?full=1",
        "http_version": "1.1",
        "status": 200,
        "body_bytes": 512,
        "duration": 1.234567,
        "client": ("192.0.2.7", 50000),
        "headers": [(b"host", b"a.example"), (b"user-agent", b"curl/8"), (b"referer", b"/from")],
        "trace": Trace(request_id="r1", traceparent=None),
        "kind": "http",
        **changes,
    }
    return AccessRecord(**fields)


@pytest.mark.parametrize(
    ("atom", "text"),
    [
        ("h", "192.0.2.7"),
        ("l", "-"),
        ("u", "-"),
        ("r", "GET /items/7?full=1 HTTP/1.1"),
        ("m", "GET"),
        ("U", "/items/7"),
        ("q", "full=1"),
        ("H", "HTTP/1.1"),
        ("s", "200"),
        ("B", "512"),
        ("b", "512"),
        ("f", "/from"),
        ("a", "curl/8"),
        ("T", "1"),
        ("M", "1234.6"),
        ("D", "1234567"),
        ("L", "1.234567"),
        ("{Host}i", "a.example"),
        ("{x-none}i", "-"),
    ],
)
def test_atom(atom: str, text: str) -> None:
    assert compile_format(f"<%({atom})s>")(record()) == f"<{text}>"


@pytest.mark.parametrize("name", ["authorization", "Cookie", "PROXY-Authorization"])
def test_headers_with_secrets_are_no_atoms(name: str) -> None:
    with pytest.raises(ValueError, match="never logged"):
        compile_format(f"%({{{name}}}i)s")


@pytest.mark.parametrize("log_query", [True, False])
@pytest.mark.parametrize("text", [None, '"%(r)s" %(q)s %(f)s %({referer}i)s'])
def test_queries_are_left_out_of_every_field(
    text: str | None, log_query: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    config = Config(log_format="json", access_log_format=text, log_query=log_query)
    referer = (b"referer", b"https://example.org/?from=1")
    AccessLog(config).log(record(headers=[referer, (b"user-agent", b"what?")]))
    line = capfd.readouterr().err
    assert "/items/7" in line
    assert ("full=1" in line) is log_query
    assert "what?" in line or text is not None
    if text is not None:
        assert ("from=1" in line) is log_query


def test_the_process_atom() -> None:
    assert compile_format("<%(p)s>")(record()) == f"<<{os.getpid()}>>"


def test_the_time_atom_is_the_common_log_formats() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    stamp = datetime.strptime(compile_format("%(t)s")(record()), "[%d/%b/%Y:%H:%M:%S %z]")
    assert before <= stamp <= datetime.now(UTC)


def test_what_is_absent_is_a_dash() -> None:
    bare = record(client=None, headers=[], body_bytes=0)
    assert compile_format("%(h)s %(b)s %(f)s %(a)s")(bare) == "- - - -"


def test_a_doubled_percent_sign_is_one() -> None:
    assert compile_format("100%% of %(m)s")(record()) == "100% of GET"


@pytest.mark.parametrize("text", ["%(x)s", "%({server}o)s", "%({}i)s", "%({a b}i)s", "%(h)d", "%s", "%"])
def test_what_is_no_atom_is_refused_when_compiled(text: str) -> None:
    with pytest.raises(ValueError, match=r"atom"):
        compile_format(f"%(h)s {text}")


def test_a_wrong_format_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="unknown atom"):
        load_config({"access_log_format": "%(nope)s"}, environ={})


@pytest.mark.parametrize("atom", ["r", "a", "f", "{x-evil}i"])
@pytest.mark.parametrize("evil", [b'"', b"\n", b"\r", b"\x1b[2J", b"\x9b2J", b"\x7f", b"\\n"])
def test_a_client_can_forge_neither_line_nor_field(atom: str, evil: bytes) -> None:
    names = (b"user-agent", b"referer", b"x-evil")
    line = compile_format(f'"%({atom})s"')(
        record(target=b"/" + evil, headers=[(name, evil) for name in names])
    )
    assert line.count('"') == 2
    assert line.isprintable()
    assert f"\\x{evil[0]:02x}" in line


def test_every_atom_survives_a_bare_record() -> None:
    bare = record(client=None, headers=[], target=b"", status=0)
    for atom in ATOMS:
        compile_format(f"%({atom})s")(bare)


def lines_of(config: Config, *records: AccessRecord, capfd: pytest.CaptureFixture[str]) -> list[str]:
    log = AccessLog(config)
    for one in records:
        log.log(one)
    return capfd.readouterr().err.splitlines()


def test_the_default_on_a_console_is_one_short_line(capfd: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(Config(log_format="console"), record(), capfd=capfd)
    assert line.endswith('] 192.0.2.7 "GET /items/7?full=1 HTTP/1.1" 200 1234.6ms')


def test_the_default_elsewhere_is_json_in_the_schema_of_all_logs(capfd: pytest.CaptureFixture[str]) -> None:
    trace = Trace(request_id="r2", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    (line,) = lines_of(Config(log_format="json"), record(trace=trace), capfd=capfd)
    entry = json.loads(line)
    stamp = datetime.fromisoformat(entry.pop("timestamp"))
    assert abs((datetime.now(UTC) - stamp).total_seconds()) < 10
    assert entry == {
        "level": "info",
        "logger": "hsrv.access",
        "event": "request",
        "message": "GET /items/7 200",
        "kind": "http",
        "method": "GET",
        "path": "/items/7",
        "query": "full=1",
        "http_version": "1.1",
        "status": 200,
        "bytes": 512,
        "duration_ms": 1234.567,
        "client": "192.0.2.7",
        "user_agent": "curl/8",
        "request_id": "r2",
        "traceparent": trace.traceparent,
        "role": None,
        "slot": None,
        "generation": None,
        "pid": os.getpid(),
    }


def test_after_setup_a_line_names_its_process() -> None:
    script = """
from hsrv.logs.accesslog import AccessLog
from hsrv.options.config import Config
from hsrv.logs.logging import setup
from hsrv.common.terms import Identity, Role
from tests.unit.logs.test_accesslog import record

setup(Config(log_format="json"), Identity(Role.POOL, 2, 3))
AccessLog(Config(log_format="json")).log(record())
"""
    done = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, timeout=30, check=True)
    entry = json.loads(done.stderr)
    assert (entry["role"], entry["slot"], entry["generation"]) == ("pool", 2, 3)


def test_any_bytes_of_a_client_are_one_line_of_ascii_json(capfd: pytest.CaptureFixture[str]) -> None:
    texts = [bytes([byte]) for byte in range(256)]
    records = [record(target=b"/?" + text, headers=[(b"user-agent", text)]) for text in texts]
    lines = lines_of(Config(log_format="json"), *records, capfd=capfd)
    assert all(line.isascii() for line in lines)
    entries = [json.loads(line) for line in lines]
    assert [(entry["query"], entry["user_agent"]) for entry in entries] == [
        (text.decode("latin-1"), text.decode("latin-1")) for text in texts
    ]


def test_a_format_of_the_operator_wins_over_json(capfd: pytest.CaptureFixture[str]) -> None:
    config = Config(log_format="json", access_log_format="%(m)s %(s)s")
    assert lines_of(config, record(), record(status=404), capfd=capfd) == ["GET 200", "GET 404"]


@pytest.mark.parametrize(
    ("config", "enabled"),
    [
        (Config(), True),
        (Config(access_log=False), False),
        (Config(log_level="debug"), True),
        (Config(log_level="warning"), False),
    ],
)
def test_it_is_off_when_told_so_or_when_its_level_is_not_logged(config: Config, enabled: bool) -> None:
    assert AccessLog(config).enabled is enabled


def test_a_line_that_can_not_be_written_is_counted_and_costs_nothing_else() -> None:
    saved = os.dup(2)
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    os.close(read)
    try:
        log = AccessLog(Config(log_format="json"))
        log.log(record())
        log.log(record())
        dropped = line_writer().dropped
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    assert dropped == 2


def test_lines_of_one_turn_of_the_loop_are_written_together(capfd: pytest.CaptureFixture[str]) -> None:
    due: list[Callable[[], None]] = []
    log = AccessLog(Config(access_log_format="%(m)s"), due.append)
    for method in ("GET", "PUT", "GET"):
        log.log(record(method=method))
    assert capfd.readouterr().err == ""
    assert len(due) == 1
    due.pop()()
    assert capfd.readouterr().err == "GET\nPUT\nGET\n"
    log.log(record())
    assert len(due) == 1, "the next turn writes too"


@contextlib.contextmanager
def writes() -> Iterator[Callable[[], list[bytes]]]:
    """Yields what tells what was written to standard error since it was asked last, by writes."""
    saved = os.dup(2)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.setblocking(False)
    os.dup2(near.fileno(), 2)

    def read() -> list[bytes]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(far.recv(1 << 20))
        return found

    try:
        yield read
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        near.close()
        far.close()


def test_no_more_is_written_together_than_a_pipe_takes_whole() -> None:
    due: list[Callable[[], None]] = []
    log = AccessLog(Config(access_log_format="%(U)s"), due.append)
    with writes() as written:
        for size in (PIPE_BUF - 10, 9, 1, PIPE_BUF + 1, 2):
            log.log(record(target=b"x" * (size - 1)))
        assert written() == []
        [flush] = due
        flush()
        assert [len(data) for data in written()] == [PIPE_BUF, PIPE_BUF + 1, 2]


def test_what_waits_for_the_end_of_a_turn_is_bounded() -> None:
    log = AccessLog(Config(access_log_format="%(m)s"), lambda flush: None)
    with writes() as written:
        for _ in range(WAITING_LIMIT - 1):
            log.log(record())
        assert written() == []
        log.log(record())
        assert b"".join(written()) == b"GET\n" * WAITING_LIMIT


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_line_that_waits_tells_when_its_request_was_over(
    log_format: Literal["console", "json"], capfd: pytest.CaptureFixture[str]
) -> None:
    one = record()
    one.at = 1_000_000_000.25
    (line,) = lines_of(Config(log_format=log_format), one, capfd=capfd)
    local = datetime.fromtimestamp(1_000_000_000, UTC).astimezone()
    if log_format == "json":
        assert json.loads(line)["timestamp"] == "2001-09-09T01:46:40.250000Z"
    else:
        assert line.startswith(f"{local:[%d/%b/%Y:%H:%M:%S %z]} ")


@pytest.mark.parametrize("log_query", [True, False])
@pytest.mark.parametrize("client", [None, ("192.0.2.7", 50000), ("::1", 1), ('of"a\nproxy', 1)])
@pytest.mark.parametrize(
    "target", [b"", b"*", b"/a?b=c", b'/?"', b"/\\", b"/\n", b"/\x9b", b"/\xe4", b"/\xff?\x7f"]
)
def test_the_usual_line_is_what_its_format_says(
    target: bytes, client: tuple[str, int] | None, log_query: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = target if log_query else target.partition(b"?")[0]
    one, bare = (record(target=it, client=client, status=404, duration=0.00012) for it in (target, shown))
    bare.at = one.at
    config = Config(log_format="console", log_query=log_query)
    AccessLog(config).log(one)
    written = capfd.readouterr().err
    assert written == compile_format(DEFAULT_FORMAT)(bare) + "\n"


def test_of_lines_that_are_written_together_each_is_counted_when_dropped() -> None:
    saved = os.dup(2)
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    os.close(read)
    try:
        log = AccessLog(Config(log_format="json"), lambda flush: None)
        for _ in range(3):
            log.log(record())
        log.flush()
        dropped = line_writer().dropped
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    assert dropped == 3


@pytest.mark.parametrize(
    ("status", "reason", "is_stream", "logged"),
    [
        (0, EndReason.CLIENT_GONE, False, 499),
        (200, EndReason.CLIENT_GONE, False, 499),
        (200, EndReason.CLIENT_GONE, True, 200),
        (0, EndReason.CLIENT_GONE, True, 499),
        (101, EndReason.CLIENT_GONE, True, 101),
        (200, EndReason.COMPLETED, False, 200),
        (0, EndReason.DRAINED, False, 0),
        (200, EndReason.SEND_TIMEOUT, False, 200),
    ],
)
def test_a_client_that_left_is_499_unless_it_left_a_stream(
    status: int, reason: EndReason, is_stream: bool, logged: int
) -> None:
    assert logged_status(status, reason, is_stream=is_stream) == logged


def test_skipped_paths_have_no_line_and_in_development_neither_have_our_own(
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = Config(access_log_format="%(U)s", access_log_skip=("/healthz", "/probe/*"))
    asked = [
        record(target=target) for target in (b"/healthz?x=1", b"/probe/a", b"/__hsrv__/reload", b"/shop")
    ]
    assert lines_of(config, *asked, capfd=capfd) == ["/__hsrv__/reload", "/shop"]
    (line,) = lines_of(Config(log_format="short"), *asked[2:], capfd=capfd)
    assert line.startswith("200 GET /shop  ")
