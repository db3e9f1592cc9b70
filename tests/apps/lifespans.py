"""Applications that differ in their lifespan. Each answers 200 to anything else."""

import asyncio
import contextlib
import os
import sqlite3
import sys
from pathlib import Path

from hsrv import process
from hsrv.common.asgi import Receive, Scope, Send


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def creates_a_table(scope: Scope, receive: Receive, send: Send) -> None:
    """Like `create_all()`: it looks whether the table is there, and creates it if not. DATABASE: a file of SQLite;
    RECORD: who began and ended."""
    if scope["type"] == "lifespan":
        await receive()
        who = process()
        note(f"begins {who.generation} {who.name}")
        with contextlib.closing(sqlite3.connect(os.environ["DATABASE"])) as database:
            there = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'items'").fetchall()
            await asyncio.sleep(0.1)
            if not there:
                database.execute("CREATE TABLE items (id INTEGER)")
        note(f"complete {who.generation} {who.name}")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await answer(send)


def note(line: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as record:
        record.write(line + "\n")


async def unsupported(scope: Scope, receive: Receive, send: Send) -> None:
    """Django's way: anything but http is an error."""
    if scope["type"] != "http":
        raise ValueError(f"only http, not {scope['type']}")
    await answer(send)


async def returns(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await answer(send)


async def failed(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database at db.example:5432"})
    else:
        await answer(send)


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise ConnectionError("the database said no")
    await answer(send)


async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await asyncio.sleep(3600)
    await answer(send)


async def hangs_at_shutdown(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(3600)
    await answer(send)


async def exits(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        sys.exit(7)
    await answer(send)
