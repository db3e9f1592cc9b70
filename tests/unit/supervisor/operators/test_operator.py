"""What keeps an operator's connection open."""

from typing import cast

import anyio
import pytest

from hsrv.rpc.dispatcher import Context
from hsrv.supervisor.operators import operator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_connection_is_idle_only_while_nothing_that_was_asked_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operator, "IDLE_TIMEOUT", 0.2)
    ended: list[str] = []

    async def work(context: Context, params: float) -> None:
        await anyio.sleep(params)
        ended.append(f"{params:g}")

    async def ask(seconds: float) -> None:
        await handle(cast("Context", None), seconds)

    with anyio.fail_after(10):
        with anyio.CancelScope(deadline=anyio.current_time() + 0.2) as idle:
            handle = operator._IdleGuard(idle).while_it_runs(work)
            async with anyio.create_task_group() as tasks:
                for seconds in (0.3, 0.6):
                    tasks.start_soon(ask, seconds)
            began = anyio.current_time()
            await anyio.sleep_forever()
        assert idle.cancelled_caught, "nothing runs any more"
    assert ended == ["0.3", "0.6"], "the first to end begins no idle time of the second"
    assert 0.15 < anyio.current_time() - began < 5
