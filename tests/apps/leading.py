"""Each process asks to lead, and notes in RECORD when it does and when it does no more."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette

import hsrv


def note(*words: object) -> None:
    with Path(os.environ["RECORD"]).open("a") as record:
        record.write(f"{' '.join(map(str, words))}\n")


async def lead() -> None:
    async with hsrv.leadership():
        note("leads", os.getpid())
        try:
            await asyncio.Event().wait()
        finally:
            note("ends", os.getpid())


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    task = asyncio.create_task(lead())
    yield
    task.cancel()


app = Starlette(lifespan=lifespan)
