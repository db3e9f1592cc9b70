"""Token streaming with FastAPI: each answer is a stream, so it runs in the pool while /health stays with the workers.

pip install hsrv fastapi
hsrv start tokens:app --app-dir examples --workers 4
curl -N -H 'Accept: text/event-stream' 'http://127.0.0.1:8000/chat?prompt=hello+streams'
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/health")
def health(request: Request) -> dict[str, object]:
    return {"ok": True, "served_by": request.scope["extensions"]["hsrv"]}


@app.get("/chat")
async def chat(prompt: str) -> StreamingResponse:
    async def tokens() -> AsyncIterator[str]:
        for word in f"You said: {prompt}".split():
            yield f"data: {word}\n\n"
            await asyncio.sleep(0.05)
        yield "event: done\ndata:\n\n"

    return StreamingResponse(tokens(), media_type="text/event-stream")
