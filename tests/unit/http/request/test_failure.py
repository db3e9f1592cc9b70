"""Errors that leave the application."""

import gc
import weakref

import pytest

from hsrv.common.errors import ClientDisconnected
from hsrv.http.request.failure import follows_from_disconnect, let_go

GONE = ClientDisconnected(32, "the client is gone")


def caused(by: Exception) -> Exception:
    error = RuntimeError("on top")
    error.__cause__ = by
    return error


def taken_out(error: Exception) -> Exception:
    """Of a group, as Starlette does: now the group is the context of what is in it."""
    try:
        raise ExceptionGroup("", [error])
    except ExceptionGroup:
        try:
            raise error from error.__cause__
        except Exception as raised:
            return raised


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (GONE, True),
        (caused(GONE), True),
        (ExceptionGroup("", [GONE, caused(GONE)]), True),
        (caused(ExceptionGroup("", [ExceptionGroup("", [GONE])])), True),
        (ExceptionGroup("", [GONE, ValueError()]), False),
        (ValueError(), False),
        (taken_out(ValueError()), False),
        (taken_out(caused(ClientDisconnected(32, "gone"))), True),
        (None, False),
    ],
)
def test_what_follows_from_a_clients_leaving_is_told_from_a_failure(
    error: BaseException | None, expected: bool
) -> None:
    assert follows_from_disconnect(error) is expected


class Thing:
    """What a request uses."""


def test_an_error_that_its_own_frames_hold_keeps_nothing_once_it_is_let_go() -> None:
    """As Starlette's task group does, and each framework that has the error in a variable."""
    things: weakref.WeakSet[Thing] = weakref.WeakSet()

    def fail(error: BaseException) -> None:
        thing = Thing()
        things.add(thing)
        kept = error
        raise kept

    def failed() -> BaseException:
        try:
            try:
                fail(ValueError("first"))
            except ValueError as first:
                fail(ExceptionGroup("second", [first, TypeError()]))
        except ExceptionGroup as group:
            return group
        raise AssertionError

    gc.disable()
    try:
        error = failed()
        assert len(things) == 2
        let_go(error)
        assert not things
    finally:
        gc.enable()
