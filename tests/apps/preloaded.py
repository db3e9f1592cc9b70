"""What an import makes: a process pool, generators of random numbers of our own and of a library, an open file."""

import json
import os
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

if "LIBRARY" in os.environ:
    import dice  # type: ignore[import-not-found]  # made by the test

    draw = dice.DIE.random
    SOURCE = Path(__file__).open("rb", buffering=0)  # noqa: SIM115  # open as long as the process
    SOURCE.seek(3)
else:
    POOL = ProcessPoolExecutor(2)
    RNG = random.Random()
    draw = RNG.random


def same(number: int) -> int:
    return number


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if "LIBRARY" not in os.environ:
            POOL.shutdown()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/draw":
        answer: Any = [os.getpid(), draw()]
    elif scope["path"] == "/read":
        answer = [os.getpid(), SOURCE.read(20).decode()]
    else:
        answer = POOL.submit(same, int(scope["path"][1:])).result(15)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
