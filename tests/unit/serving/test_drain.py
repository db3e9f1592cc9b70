"""A drain begins once, may get shorter, and ends once."""

import asyncio

from hsrv.net.loops import new_loop
from hsrv.rpc.methods import DrainParams
from hsrv.serving.drain import Drain
from tests.unit.serving.inmemory import DRAIN, MOVE


def moves(drain: Drain) -> bool:
    return drain.moves_connections


def is_on(drain: Drain) -> bool:
    return drain.is_on


def test_a_drain_gets_shorter_and_not_longer() -> None:
    loop = new_loop("asyncio")
    drain = Drain(loop)
    assert not is_on(drain)
    assert drain.begin(MOVE)
    assert moves(drain)
    assert not drain.begin(DrainParams(graceful_timeout=60, stream_grace=60, adopt=True))
    assert drain.begin(DRAIN), "connections can't move any more"
    assert not moves(drain)
    assert not drain.begin(MOVE)
    assert drain.params is DRAIN
    loop.close()


def test_its_age_counts_from_the_first_request() -> None:
    loop = new_loop("asyncio")
    drain = Drain(loop)
    drain.begin(MOVE)
    began = loop.time()
    drain.begin(DRAIN)
    assert 4.9 < drain.age(began + 5) < 5.1
    loop.close()


def test_whoever_waits_for_its_end_acts_then() -> None:
    loop = new_loop("asyncio")
    drain, ended = Drain(loop), []

    async def story() -> None:
        task = loop.create_task(drain.over(lambda: ended.append("left")))
        await asyncio.sleep(0)
        assert not ended
        drain.end()
        drain.end()
        await task

    loop.run_until_complete(story())
    assert drain.is_over
    assert ended == ["left"]
    loop.close()
