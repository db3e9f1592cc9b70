"""FastAPI: JSON, sync and async endpoints, upload, download, background tasks, SSE, WebSocket."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import BackgroundTasks, FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from tests.apps.raw import record

app = FastAPI()


class Item(BaseModel):
    name: str
    price: float


@app.get("/")
async def root(request: Request) -> dict[str, object]:
    return {"pid": os.getpid(), **request.scope["extensions"]["hsrv"]}


@app.get("/sync")
def in_thread() -> dict[str, int]:
    return {"pid": os.getpid()}


@app.post("/items")
async def items(item: Item) -> Item:
    return item


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, int]:
    return {"size": len(await file.read())}


@app.get("/download")
async def download(size: int) -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        left = size
        while left:
            part = b"x" * min(left, 65536)
            left -= len(part)
            yield part

    return StreamingResponse(parts(), media_type="application/octet-stream")


@app.post("/background")
async def background(key: str, tasks: BackgroundTasks) -> dict[str, bool]:
    tasks.add_task(record, f"background {key}")
    return {"ok": True}


@app.get("/chat/{chat_id}/events")
async def events(chat_id: int, request: Request) -> StreamingResponse:
    role = request.scope["extensions"]["hsrv"]["role"]

    async def stream() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"data: {number} {role} {chat_id}\n\n".encode()
            await asyncio.sleep(0.01)

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(websocket: WebSocket, token: Annotated[str | None, ...] = None) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)
