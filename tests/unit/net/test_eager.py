"""Eager tasks on every loop."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context

import pytest

from hsrv.net import eager
from hsrv.net.loops import new_loop

var: ContextVar[str] = ContextVar("var", default="outside")


@pytest.fixture(params=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Callable[[Callable[[asyncio.AbstractEventLoop], None]], None]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")

    def run(body: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        loop = new_loop(request.param)
        errors: list[BaseException] = []

        def guarded() -> None:
            try:
                body(loop)
            except BaseException as error:
                errors.append(error)
            loop.call_later(0.05, loop.stop)

        loop.call_soon(guarded)
        loop.run_forever()
        loop.close()
        if errors:
            raise errors[0]

    return run


def test_a_coroutine_that_never_waits_is_done_on_return(
    on_loop: Callable[[Callable[[asyncio.AbstractEventLoop], None]], None],
) -> None:
    async def app() -> None:
        assert asyncio.current_task() is not None

    def body(loop: asyncio.AbstractEventLoop) -> None:
        task = eager.start(app(), loop, copy_context())
        assert task.done()
        assert task.exception() is None

    on_loop(body)


def test_a_coroutine_that_waits_goes_on_later_in_its_own_context(
    on_loop: Callable[[Callable[[asyncio.AbstractEventLoop], None]], None],
) -> None:
    seen: list[str] = []

    async def app() -> None:
        var.set("inside")
        await asyncio.sleep(0)
        seen.append(var.get())

    def body(loop: asyncio.AbstractEventLoop) -> None:
        task = eager.start(app(), loop, copy_context())
        assert not task.done()
        assert var.get() == "outside"

    on_loop(body)
    assert seen == ["inside"]


def test_an_error_is_kept_in_the_task(
    on_loop: Callable[[Callable[[asyncio.AbstractEventLoop], None]], None],
) -> None:
    async def app() -> None:
        raise ValueError("mine")

    def body(loop: asyncio.AbstractEventLoop) -> None:
        task = eager.start(app(), loop, copy_context())
        assert isinstance(task.exception(), ValueError)

    on_loop(body)
