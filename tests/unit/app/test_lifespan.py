"""The application's lifespan: every way it may go."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from hsrv.app.lifespan import LIFESPAN, Event, LifespanManager, State
from hsrv.common.asgi import Application, Receive, Scope, Send
from hsrv.common.errors import AppError, AppLoadError
from hsrv.common.tables import IllegalMoveError, Machine
from hsrv.common.terms import LifespanMode

EXTENSION = {"role": "worker", "slot": 1, "generation": 1, "leader": True}
LONG = 60.0
"""Seconds; a test that waits for so long fails by its timeout."""

BOTH = pytest.mark.parametrize("mode", [LifespanMode.AUTO, LifespanMode.ON])


def manager(
    app: Application, mode: LifespanMode = LifespanMode.AUTO, *, startup: float = 5.0, shutdown: float = 5.0
) -> LifespanManager:
    return LifespanManager(app, mode, startup_timeout=startup, shutdown_timeout=shutdown, extension=EXTENSION)


def run(body: Callable[[], Awaitable[None]]) -> None:
    """Run on a loop that reports what nobody looked at."""

    async def main() -> None:
        unheeded: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheeded.append(context))
        async with asyncio.timeout(10):
            await body()
        assert not unheeded, unheeded

    asyncio.run(main())


def refused(app: Application, mode: LifespanMode = LifespanMode.AUTO, startup: float = 5.0) -> AppLoadError:
    """The error of a startup that fails."""
    errors: list[AppLoadError] = []

    async def body() -> None:
        lifespan = manager(app, mode, startup=startup)
        with pytest.raises(AppLoadError) as caught:
            await lifespan.startup()
        errors.append(caught.value)
        await lifespan.shutdown()
        assert len(asyncio.all_tasks()) == 1, "the application's call has ended"

    run(body)
    return errors[0]


def shutdown_logs(app: Application, *, shutdown: float = 5.0) -> list[Any]:
    """What is logged when an application that started is shut down."""
    entries: list[Any] = []

    async def body() -> None:
        lifespan = manager(app, shutdown=shutdown)
        assert await lifespan.startup()
        await asyncio.sleep(0)
        await lifespan.shutdown()
        assert len(asyncio.all_tasks()) == 1, "the application's call has ended"

    with capture_logs() as logs:
        run(body)
    entries.extend(logs)
    return entries


async def looping(scope: Scope, receive: Receive, send: Send) -> None:
    """Never returns by itself."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def unsupported(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("only http")


async def returning(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def forgetful(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def raising(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise ConnectionError("the database said no")


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database at db.example:5432"})


async def failing_like_starlette(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    text = "Traceback (most recent call last):\n  ...\nConnectionError: the database said no\n"
    await send({"type": "lifespan.startup.failed", "message": text})
    raise ConnectionError("the database said no")


async def exiting(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    sys.exit(7)


async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await asyncio.sleep(LONG)


async def cancelling_itself(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise asyncio.CancelledError


async def started(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


def test_startup_and_shutdown_are_said_once_each_in_order() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(2):
            message = await receive()
            seen.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    async def body() -> None:
        lifespan = manager(app)
        assert await lifespan.startup() is True
        assert seen == ["lifespan.startup"]
        await lifespan.shutdown()
        assert seen == ["lifespan.startup", "lifespan.shutdown"]
        await lifespan.shutdown()
        assert seen == ["lifespan.startup", "lifespan.shutdown"]

    run(body)


def test_the_scope_has_the_shared_state_and_the_extension() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["scope"] = scope
        await looping(scope, receive, send)

    async def body() -> None:
        lifespan = manager(app)
        await lifespan.startup()
        scope = lifespan.state["scope"]
        assert (scope["type"], scope["asgi"]) == ("lifespan", {"version": "3.0", "spec_version": "2.0"})
        assert scope["state"] is lifespan.state
        assert scope["extensions"]["hsrv"] == EXTENSION
        await lifespan.shutdown()

    run(body)


def test_off_never_calls_the_application() -> None:
    called: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope)

    async def body() -> None:
        lifespan = manager(app, LifespanMode.OFF)
        assert await lifespan.startup() is False
        await lifespan.shutdown()

    run(body)
    assert not called


@pytest.mark.parametrize("app", [unsupported, returning])
def test_auto_takes_an_application_that_asked_for_nothing_as_unsupporting(app: Application) -> None:
    async def body() -> None:
        lifespan = manager(app)
        assert await lifespan.startup() is False
        await lifespan.shutdown()

    run(body)


def test_on_takes_it_as_an_error() -> None:
    error = refused(unsupported, LifespanMode.ON)
    assert "doesn't support lifespan" in str(error)
    assert error.traceback.endswith("ValueError: only http\n")
    assert not refused(returning, LifespanMode.ON).traceback


@BOTH
def test_an_error_after_it_asked_is_shown_from_the_application_on(mode: LifespanMode) -> None:
    error = refused(raising, mode)
    assert str(error) == "lifespan startup raised ConnectionError: the database said no"
    assert error.traceback.endswith("ConnectionError: the database said no\n")
    assert "test_lifespan.py" in error.traceback
    assert "hsrv/app/lifespan.py" not in error.traceback


@BOTH
def test_the_message_of_a_failure_is_kept_whole(mode: LifespanMode) -> None:
    assert str(refused(failing, mode)) == "lifespan startup failed: no database at db.example:5432"


def test_a_failure_whose_message_is_a_traceback_is_shown_as_one() -> None:
    error = refused(failing_like_starlette)
    assert str(error) == "lifespan startup failed: ConnectionError: the database said no"
    assert error.traceback.startswith("Traceback (most recent call last):\n  ...\n")


@BOTH
def test_returning_without_an_answer_is_a_failure(mode: LifespanMode) -> None:
    assert "returned before startup was complete" in str(refused(forgetful, mode))


def test_an_exit_is_a_failure_of_the_startup_and_not_of_the_process() -> None:
    error = refused(exiting)
    assert "SystemExit(7)" in str(error)
    assert "sys.exit(7)" in error.traceback
    assert "hsrv/app/lifespan.py" not in error.traceback


def test_an_application_that_cancels_itself_has_failed() -> None:
    assert "CancelledError" in str(refused(cancelling_itself))


def test_a_startup_that_hangs_is_cut_and_tells_where_it_waits() -> None:
    message = str(refused(hanging, startup=0.05))
    assert "--lifespan-startup-timeout" in message
    assert "test_lifespan.py:" in message
    assert "in hanging" in message


def test_a_failed_application_that_asks_for_more_is_ended() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await failing(scope, receive, send)
        await receive()

    assert "db.example" in str(refused(app))


def test_a_looping_application_is_shut_down_at_once_and_without_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hsrv.app.lifespan.CANCEL_TIMEOUT", LONG)
    assert shutdown_logs(looping, shutdown=LONG) == []


def test_a_shutdown_that_hangs_is_cut_and_tells_where_it_waits() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        await hanging(scope, receive, send)

    (entry,) = shutdown_logs(app, shutdown=0.05)
    assert (entry["event"], entry["log_level"]) == ("lifespan shutdown timed out", "error")
    assert "in hanging" in entry["waiting_at"]


def test_a_shutdown_that_ignores_its_cancellation_is_left_behind_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hsrv.app.lifespan.CANCEL_TIMEOUT", 0.05)
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        await receive()
        try:
            await release.wait()
        except asyncio.CancelledError:
            await release.wait()

    async def body() -> None:
        lifespan = manager(app, shutdown=0.05)
        await lifespan.startup()
        await lifespan.shutdown()
        release.set()

    with capture_logs() as logs:
        run(body)
    assert [entry["event"] for entry in logs] == [
        "lifespan shutdown timed out",
        "lifespan ignores that it was cancelled",
    ]


def test_a_shutdown_that_raises_is_logged_with_its_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        await raising(scope, receive, send)

    (entry,) = shutdown_logs(app)
    assert (entry["event"], entry["log_level"]) == ("lifespan shutdown raised", "error")
    assert isinstance(entry["exc_info"], ConnectionError)


def test_an_error_after_the_answer_is_logged_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        raise ConnectionError("lost")

    (entry,) = shutdown_logs(app)
    assert entry["event"] == "lifespan shutdown raised"


def test_a_shutdown_that_fails_is_logged_with_its_message() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "can't flush"})

    (entry,) = shutdown_logs(app)
    assert (entry["event"], entry["message"]) == ("lifespan shutdown failed", "can't flush")


def test_an_application_that_returns_after_startup_is_not_asked_to_shut_down() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)

    assert [entry["log_level"] for entry in shutdown_logs(app, shutdown=LONG)] == ["debug"]


def test_an_error_between_startup_and_shutdown_is_logged_when_it_happens() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        raise ConnectionError("lost")

    (entry,) = shutdown_logs(app, shutdown=LONG)
    assert entry["event"] == "lifespan raised between startup and shutdown"
    assert isinstance(entry["exc_info"], ConnectionError)


@pytest.mark.parametrize(
    "kind",
    [
        "lifespan.startup.complete",
        "lifespan.startup.failed",
        "lifespan.shutdown.complete",
        "http.response.start",
    ],
)
def test_a_message_out_of_turn_is_an_error_of_the_application(kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        await send({"type": kind})

    (entry,) = shutdown_logs(app)
    assert kind in str(entry["exc_info"])


def test_an_answer_is_given_once() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await started(receive, send)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        with pytest.raises(AppError, match=r"lifespan\.shutdown\.complete"):
            await send({"type": "lifespan.shutdown.complete"})

    assert shutdown_logs(app) == []


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_move_is_in_the_table_or_raises(state: State, event: Event) -> None:
    machine = Machine(LIFESPAN, state)
    if event in LIFESPAN[state]:
        assert machine.move(event) is LIFESPAN[state][event]
    else:
        with pytest.raises(IllegalMoveError):
            machine.move(event)


FAILED = "Traceback (most recent call last):\n  File 'a.py', line 1, in b\n    c()\n"
SQL = f"{FAILED}sqlalchemy.exc.OperationalError: table items already exists\n[SQL: CREATE TABLE items\n  (id)]\n(More)"
CHAINED = f"{FAILED}KeyError: 'x'\n\nDuring handling, another one:\n\n{FAILED}RuntimeError: no x: y"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (SQL, "OperationalError: table items already exists"),
        (CHAINED, "RuntimeError: no x: y"),
        ("no traceback\nbut two lines", "but two lines"),
    ],
)
def test_the_reason_of_a_traceback_is_its_type_and_message(text: str, reason: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": text})

    error = refused(app)
    assert str(error) == f"lifespan startup failed: {reason}"
    assert error.traceback == f"{text}\n"
