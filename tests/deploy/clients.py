"""Clients for `Load` that go through proxies, which may close a kept connection between two requests."""

import asyncio

from tests.integration.load import EVENT_STREAM, PATIENCE, Client, Load, Problem
from tests.integration.wire import request


def kept(load: Load, least: float = 0.0, most: float = 0.02) -> Client:
    """Asks again and again on one connection, and returns when it is closed: a proxy may do so between two requests,
    and every client makes another then. An answer that was begun or an error is never excused."""

    async def client() -> None:
        async with load.line() as line:
            while not load.stopping:
                line.send(request(f"/?n={line.asked}"))
                try:
                    headers = await asyncio.wait_for(line.head(), PATIENCE)
                except (Problem, ConnectionResetError) as error:
                    between_two = isinstance(error, OSError) or "kept connection was closed" in str(error)
                    if line.asked == 1 or not between_two:
                        raise
                    load.done["reopened"] += 1
                    return
                await line.reader.readexactly(int(headers["content-length"]))
                load.done["request"] += 1
                if headers.get("connection") == "close":
                    return
                await load.think(least, most)

    return client


def streams(load: Load) -> Client:
    """Each on a connection of its own, to its proper end."""

    async def client() -> None:
        async with load.line() as line:
            line.send(request("/sse?halves", EVENT_STREAM))
            await asyncio.wait_for(line.head(), PATIENCE)
            if await load.until_over(line.events()):
                load.done["stream end"] += 1

    return client


def posts(load: Load) -> Client:
    """What no proxy may send twice."""

    async def client() -> None:
        async with load.line() as line:
            await asyncio.wait_for(
                line.ask(request("/upload", "Content-Length: 4", method="POST", body=b"once")), PATIENCE
            )
            load.done["post"] += 1
            await load.think(0.0, 0.05)

    return client


def slow(load: Load) -> Client:
    async def client() -> None:
        async with load.line() as line:
            await asyncio.wait_for(line.ask(request("/?n=0&s=1")), PATIENCE)

    return client


def once(load: Load, client: Client) -> Client:
    """And then wait for the end of the test."""
    done: set[asyncio.Task[None] | None] = set()

    async def client_() -> None:
        task = asyncio.current_task()
        if task not in done:
            done.add(task)
            await client()
        await asyncio.sleep(0.05)

    return client_
