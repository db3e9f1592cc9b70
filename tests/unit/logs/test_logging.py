"""Lines of the log: schema, joining in, forging, losing.

setup() is of a whole process, so most tests run a script in one of their own.
"""

import json
import os
import pty
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from hsrv.logs.logging import process_fields

PRELUDE = """
import logging, logging.config, os, sys, warnings
import structlog
from hsrv.options.config import Config
from hsrv.logs.logging import current_trace, get_logger, process_fields, setup
from hsrv.ipc.messages import Trace
from hsrv.common.terms import Identity, Role

WORKER = Identity(Role.WORKER, 2, 3)
log = get_logger("hsrv.test")
"""


def text_of(body: str, *, form: str = "json", level: str = "info", before: str = "") -> str:
    """What a process writes to standard error that runs `body` after setup()."""
    script = f"{PRELUDE}{before}\nsetup(Config(log_format={form!r}, log_level={level!r}), WORKER)\n{body}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    return done.stderr


def entries_of(body: str, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(body, **options).splitlines()]


def test_server_stdlib_and_structlog_lines_have_one_schema() -> None:
    entries = entries_of("""
current_trace.set(Trace(request_id="r1", traceparent="00-trace"))
log.info("worker ready", size=1)
logging.getLogger("shop").info("worker %s", "ready", extra={"size": 1})
structlog.get_logger("shop").info("worker ready", size=1)
""")
    assert {tuple(entry)[:4] for entry in entries} == {("timestamp", "level", "logger", "event")}
    assert [entry.pop("logger") for entry in entries] == ["hsrv.test", "shop", "shop"]
    for entry in entries:
        assert datetime.fromisoformat(entry.pop("timestamp")).utcoffset() is not None
        assert entry.pop("pid") > 0
        assert entry == {
            "level": "info",
            "event": "worker ready",
            "message": "worker ready",
            "size": 1,
            "role": "worker",
            "slot": 2,
            "generation": 3,
            "request_id": "r1",
            "traceparent": "00-trace",
        }


def test_the_supervisor_names_itself() -> None:
    (entry,) = entries_of('setup(Config(log_format="json"), None); log.info("started")')
    assert entry["role"] == "supervisor"
    assert "slot" not in entry


def test_a_traceback_is_text_under_one_key() -> None:
    entries = entries_of("""
try:
    1 / 0
except ZeroDivisionError as error:
    log.exception("failed")
    log.error("failed", exc_info=error)
    logging.getLogger("shop").exception("failed")
log.error("failed", exception="Traceback of another process")
""")
    for entry in entries[:3]:
        assert entry["exception"].startswith("Traceback (most recent call last):\n")
        assert entry["exception"].endswith("ZeroDivisionError: division by zero")
    assert entries[3]["exception"] == "Traceback of another process"


def test_the_level_holds_for_server_and_application_unless_a_logger_has_its_own() -> None:
    entries = entries_of(
        """
log.info("no"); log.warning("server")
logging.getLogger("shop").info("no"); logging.getLogger("shop").warning("app")
logging.getLogger("loud").setLevel("DEBUG"); logging.getLogger("loud").debug("loud")
""",
        level="warning",
    )
    assert [entry["event"] for entry in entries] == ["server", "app", "loud"]


def test_warnings_join_in() -> None:
    (entry,) = entries_of('warnings.warn("soon gone", UserWarning)')
    assert (entry["logger"], entry["level"]) == ("py.warnings", "warning")
    assert "soon gone" in entry["event"]


def test_an_application_that_configures_logging_does_not_silence_the_server() -> None:
    text = text_of("""
logging.getLogger("hsrv.test")
logging.config.dictConfig({
    "version": 1,
    "formatters": {"plain": {"format": "mine: %(message)s"}},
    "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["mine"], "level": "ERROR"},
})
structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
logging.disable(logging.CRITICAL)
log.info("server")
logging.disable(logging.NOTSET)
setup(Config(log_format="json"), Identity(Role.WORKER, 5, 3))
log.info("after the fork")
logging.getLogger("shop").error("app")
logging.getLogger("shop").warning("below its level")
""")
    server, after, app = text.splitlines()
    assert json.loads(server)["event"] == "server"
    assert json.loads(after)["slot"] == 5
    assert app == "mine: app"


def test_an_application_that_configured_structlog_before_keeps_it() -> None:
    text = text_of(
        'structlog.get_logger().info("app"); log.info("server")',
        before="""
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer()],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)
""",
    )
    app, server = text.splitlines()
    assert app == "event='app'"
    assert json.loads(server)["event"] == "server"


def test_a_forked_child_has_its_own_name_in_every_line() -> None:
    entries = entries_of("""
pid = os.fork()
if pid == 0:
    setup(Config(log_format="json"), Identity(Role.POOL, 1, 3))
    log.info("server"); logging.getLogger("shop").info("app"); structlog.get_logger("shop").info("app")
    assert process_fields() == {"role": "pool", "slot": 1, "generation": 3, "pid": os.getpid()}
    os._exit(0)
os.waitpid(pid, 0)
log.info("parent", child=pid)
""")
    *child, parent = entries
    assert [(entry["role"], entry["slot"], entry["pid"]) for entry in child] == [
        ("pool", 1, parent["child"])
    ] * 3
    assert parent["role"] == "worker"


def test_a_log_call_that_can_not_be_rendered_costs_its_line_and_says_so() -> None:
    entries = entries_of("""
class Broken:
    def __repr__(self):
        raise ValueError("no")

current_trace.set(Trace(request_id="r1"))
log.info("one", value=Broken())
logging.getLogger("shop").info("%d", "two")
logging.getLogger("shop").info("three", extra={"value": Broken()})
log.info("four", value={1: object}, keys={(1, 2): 3})
""")
    assert [(entry["event"], entry.get("error")) for entry in entries] == [
        ("log call failed", "ValueError"),
        ("log call failed", "TypeError"),
        ("log call failed", "ValueError"),
        ("four", None),
    ]
    assert {entry["request_id"] for entry in entries} == {"r1"}
    assert {entry["role"] for entry in entries} == {"worker"}


EVIL = r"a\r\n2026 [info] forged\x1b[2J\x9b1m\u2028\u202e"


CALLS = (
    f'log.info("{EVIL}")',
    f'log.info("event", value="{EVIL}")',
    f'log.info("event", value=["{EVIL}"])',
    f'log.info("event", value=type("V", (), {{"__repr__": lambda self: "{EVIL}"}})())',
    f'logging.getLogger("shop").info("{EVIL}")',
    f'logging.getLogger("shop").info("event", extra={{"value": "{EVIL}"}})',
    f'logging.getLogger("{EVIL}").info("event")',
)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_can_neither_forge_a_line_nor_move_the_cursor(form: str) -> None:
    lines = text_of("\n".join(CALLS), form=form).removesuffix("\n").split("\n")
    assert len(lines) == len(CALLS), lines
    assert [ascii(line) for line in lines if not line.isprintable()] == []


def test_a_traceback_on_a_console_is_an_indented_block() -> None:
    lines = text_of(
        f"""
try:
    raise ValueError("{EVIL}")
except ValueError:
    log.exception("failed")
log.error("failed", exception="Traceback of another\\nprocess\\x1b")
""",
        form="console",
    ).splitlines()
    entries = [line for line in lines if not line.startswith("    ")]
    assert len(entries) == 2
    assert all("failed" in line for line in entries)
    assert all(line.isprintable() for line in lines)
    assert "    process\\x1b" in lines


def test_a_console_line_is_short_and_in_plain_text() -> None:
    line = text_of('log.info("worker ready", name="Zoë")', form="console").rstrip("\n")
    assert "[info" in line
    assert "worker ready" in line
    assert "role=worker-2" in line
    assert "Zoë" in line


@pytest.mark.parametrize(
    ("setting", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_auto_is_a_coloured_console_on_a_terminal(setting: dict[str, str], colored: bool) -> None:
    script = f'{PRELUDE}setup(Config(), None); log.info("started")'
    env = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm", **setting}
    ours, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", script], stderr=theirs, env=env, timeout=30, check=True)
        text = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert ("\x1b[" in text) is colored
    assert "started" in text
    assert not text.startswith("{")


def test_auto_is_json_elsewhere() -> None:
    (entry,) = entries_of('log.info("started")', form="auto")
    assert entry["event"] == "started"


def test_before_setup_a_process_has_no_name_but_its_pid() -> None:
    assert process_fields() == {"pid": os.getpid()}


def test_what_nobody_caught_is_a_line_like_all_others() -> None:
    entries = entries_of("""
import threading
thread = threading.Thread(target=lambda: 1 / 0, name="theirs")
thread.start()
thread.join()
class Bad:
    def __del__(self):
        raise ValueError("in a finalizer")
Bad()
sys.excepthook(*(lambda error: (type(error), error, None))(KeyError("the end")))
""")
    assert [(entry["event"], entry["level"]) for entry in entries] == [
        ("thread failed", "error"),
        ("exception ignored", "error"),
        ("process failed", "critical"),
    ]
    assert entries[0]["thread"] == "theirs"
    assert "ZeroDivisionError" in entries[0]["exception"]
    assert "in a finalizer" in entries[1]["exception"]
    assert "the end" in entries[2]["exception"]


def test_a_number_that_is_none_is_no_invalid_json() -> None:
    (line,) = text_of("""
log.info("odd", value=float("nan"), values=[float("inf"), {"x": -float("inf")}], fine=1.5)
""").splitlines()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    entry = json.loads(line, parse_constant=refuse)
    assert (entry["value"], entry["values"], entry["fine"]) == ("nan", ["inf", {"x": "-inf"}], 1.5)
