"""The dashboard's feed: one look for all viewers."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from hsrv.rpc.operator import ServerStatus, TimelineEvent
from hsrv.supervisor.admin.dashboard import feed as module
from hsrv.supervisor.admin.dashboard.feed import HISTORY, Feed, sse
from tests.unit.status.test_rates import process, status

pytestmark = pytest.mark.anyio

INTERVAL = 0.02


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", INTERVAL)
    monkeypatch.setattr(module, "STALE", 0.5)


class Server:
    """Something that can be looked at: each look is a second later, with ten requests more and one event."""

    def __init__(self, *, events: bool = True) -> None:
        self.looks = 0
        self.events = events

    async def read(self) -> ServerStatus:
        self.looks += 1
        now = status(float(self.looks), process(1, requests=self.looks), requests={"2xx": self.looks * 10})
        happened = [
            TimelineEvent(number=n, at=1.0, level="info", event=f"event {n}", details={})
            for n in range(1, self.looks + 1 if self.events else 1)
        ]
        await anyio.lowlevel.checkpoint()
        return msgspec.structs.replace(now, events=happened)


ServerReports = list[tuple[str, Any]]


def parsed(chunk: bytes) -> ServerReports:
    found = []
    for block in chunk.decode().split("\n\n")[:-1]:
        event, data = block.split("\n")
        found.append((event.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def told(viewer: AsyncGenerator[bytes, None]) -> ServerReports:
    with anyio.fail_after(20):
        return parsed(await anext(viewer))


def numbers(found: ServerReports) -> list[int]:
    return [event["number"] for kind, data in found if kind == "events" for event in data]


async def test_nobody_is_asked_until_somebody_looks() -> None:
    server = Server()
    feed = Feed(server.read, writable=False)
    viewer = feed.watch()
    await anyio.sleep(INTERVAL * 5)
    assert server.looks == 0
    await told(viewer)
    looks = server.looks
    await viewer.aclose()
    await anyio.sleep(INTERVAL * 5)
    assert server.looks == looks == 1


async def test_a_viewer_is_greeted_and_then_told_of_look_after_look() -> None:
    viewer = Feed(Server().read, writable=True).watch()
    [(kind, hello)] = await told(viewer)
    assert (kind, hello["writable"], len(hello["history"])) == ("hello", True, 1)
    first, second = await told(viewer), await told(viewer)
    assert [kind for kind, _ in first] == ["look", "events"]
    assert first[0][1]["roles"]["worker"]["rates"] is None
    assert second[0][1]["roles"]["worker"]["rates"]["requests"] == 10.0
    assert (numbers(first), numbers(second)) == ([1], [2])
    await viewer.aclose()


async def test_all_viewers_share_one_look() -> None:
    server = Server()
    feed = Feed(server.read, writable=False)
    seen: dict[int, list[bytes]] = {n: [] for n in range(8)}

    async def look(n: int) -> None:
        viewer = feed.watch()
        for _ in range(6):
            seen[n].append(await anext(viewer))
        await viewer.aclose()

    async with anyio.create_task_group() as tasks:
        for n in seen:
            tasks.start_soon(look, n)
    assert all(one == seen[0] for one in seen.values())
    assert server.looks == 5, "one hello and five looks for each of the eight"


async def test_a_slow_viewer_misses_looks_and_no_event() -> None:
    feed = Feed(Server().read, writable=False)
    slow, quick = feed.watch(), feed.watch()
    await told(slow)
    await told(quick)
    before = numbers(await told(slow))
    for _ in range(10):
        await told(quick)
    [(_, look), (_, events)] = await told(slow)
    assert look["at"] == 1010.0
    assert before + [event["number"] for event in events] == list(range(1, 11))
    await slow.aclose()
    await quick.aclose()


async def test_when_the_one_who_looks_leaves_another_takes_over() -> None:
    feed = Feed(Server().read, writable=False)
    first, second = feed.watch(), feed.watch()
    await told(first)
    await told(second)
    await told(first)
    await told(second)
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as leaves:

            async def leave() -> None:
                await anyio.lowlevel.checkpoint()
                leaves.cancel()

            tasks.start_soon(leave)
            await anext(first)
    assert leaves.cancelled_caught
    assert (await told(second))[0][0] == "look"
    await second.aclose()


async def test_what_nobody_watched_is_neither_shown_nor_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALE", INTERVAL * 3)
    server = Server()
    feed = Feed(server.read, writable=False)
    viewer = feed.watch()
    for _ in range(3):
        await told(viewer)
    await viewer.aclose()
    await anyio.sleep(INTERVAL * 6)
    later = feed.watch()
    await told(later)
    [(_, look), _] = await told(later)
    assert look["at"] == 1000.0 + server.looks, "a fresh look"
    assert look["roles"]["worker"]["rates"] is None
    await later.aclose()


async def test_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    feed = Feed(Server(events=False).read, writable=False)
    viewer = feed.watch()
    for _ in range(HISTORY + 10):
        await told(viewer)
    await viewer.aclose()
    later = feed.watch()
    [(_, hello)] = await told(later)
    assert len(hello["history"]) == HISTORY
    assert hello["history"][-1]["roles"]["worker"]["requests"] == 10.0
    await later.aclose()


async def test_a_text_with_line_ends_stays_one_event() -> None:
    assert parsed(sse("x", {"path": "/\n\ndata: evil\n\nevent: look"})) == [
        ("x", {"path": "/\n\ndata: evil\n\nevent: look"})
    ]
