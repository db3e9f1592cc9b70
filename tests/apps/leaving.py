"""Streams of several frameworks behind one server, each below /NAME: what becomes of them when their client leaves.

The end of each generator is a line of RECORD (see `tests.apps.raw`). The collector is off: nothing may wait for it.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from litestar import Litestar, get
from litestar.response import ServerSentEvent, Stream
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.responses import StreamingResponse as StarletteStream
from starlette.routing import Route

from hsrv.common.asgi import Receive, Scope, Send
from tests.apps import django_app
from tests.apps.living import alive, begun
from tests.apps.raw import record

EVENT = "data: event\n\n"


async def events(key: str, every: float) -> AsyncIterator[str]:
    """`every`: seconds between two; 0: only one, and then silence."""
    begun.add(key)
    try:
        yield EVENT
        while every:
            await asyncio.sleep(every)
            yield EVENT
        await asyncio.Event().wait()
    finally:
        begun.remove(key)
        record(f"ended {key}")


# frameworks

fastapi = FastAPI()


@fastapi.get("/fastapi/{role}")
async def _fastapi(key: str, every: float) -> StreamingResponse:
    return StreamingResponse(events(key, every), media_type="text/event-stream")


async def _starlette(request: Request) -> Response:
    query = request.query_params
    return StarletteStream(events(query["key"], float(query["every"])), media_type="text/event-stream")


async def _plain(request: Request) -> Response:
    """Nothing tells that it is a stream."""
    query = request.query_params
    return StarletteStream(events(query["key"], float(query["every"])), media_type="text/plain")


async def _sse(request: Request) -> Response:
    query = request.query_params
    return EventSourceResponse(events(query["key"], float(query["every"])))


async def _background(request: Request) -> Response:
    """A whole response, after `s` seconds in which its client may leave, and what is to be done after it."""
    query = request.query_params
    record(f"began {query['key']}")
    await asyncio.sleep(float(query["s"]))
    return JSONResponse({}, background=BackgroundTask(record, f"background {query['key']}"))


async def _fails(request: Request) -> Response:
    """Amid its response."""

    async def failing() -> AsyncIterator[str]:
        async for event in events(request.query_params["key"], 0.001):
            yield event
            raise RuntimeError("on purpose")

    return StarletteStream(failing(), media_type="text/event-stream")


async def _alive(request: Request) -> Response:
    """What lives of requests in this process, this one among it."""
    return JSONResponse(alive())


starlette = Starlette(
    routes=[
        Route("/starlette/{role}", _starlette),
        Route("/plain/{role}", _plain),
        Route("/sse-starlette/{role}", _sse),
        Route("/background/{role}", _background),
        Route("/fails/{role}", _fails),
        Route("/alive/{role}", _alive),
    ]
)


async def _django(request: HttpRequest, role: str) -> StreamingHttpResponse:
    stream = events(request.GET["key"], float(request.GET["every"]))
    return StreamingHttpResponse(stream, content_type="text/event-stream")


django_app.urlpatterns.append(path("django/<role>", _django))


@get("/litestar/{role:str}")
async def _litestar(role: str, key: str, every: float) -> Stream:
    return Stream(events(key, every), media_type="text/event-stream")


@get("/litestar-sse/{role:str}")
async def _litestar_sse(role: str, key: str, every: float) -> ServerSentEvent:
    return ServerSentEvent(events(key, every))


litestar = Litestar([_litestar, _litestar_sse], logging_config=None)  # else it starts a thread


# raw ASGI


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Talks and never asks, or is silent and listens."""
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    await send(
        {
            "type": "http.response.start",
            "status": int(query.get("status", "200")),
            "headers": [(b"content-type", b"text/event-stream")],
        }
    )
    stream = events(query["key"], float(query["every"]))
    listening = asyncio.ensure_future(_gone(receive)) if query["every"] == "0" else None
    try:
        await _pass_on(stream, send, listening)
    finally:
        await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
        if listening is not None:
            listening.cancel()


async def _pass_on(stream: AsyncIterator[str], send: Send, listening: "asyncio.Task[None] | None") -> None:
    if listening is None:
        async for event in stream:
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        return
    first = await anext(stream)
    await send({"type": "http.response.body", "body": first.encode(), "more_body": True})
    await listening


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# MCP, where it is installed


def _mcp() -> Starlette | None:
    try:
        from mcp.server.mcpserver import Context, MCPServer
        from mcp.server.transport_security import TransportSecuritySettings
    except ImportError:
        return None
    server: Any = MCPServer("events")

    async def talk(key: str, every: float, ctx: Context) -> str:
        async for _ in events(key, every):
            await ctx.report_progress(1)
        return ""

    server.tool()(talk)
    any_host = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    made: Starlette = server.streamable_http_app(
        streamable_http_path="/mcp/{role}", transport_security=any_host
    )
    return made


mcp = _mcp()


APPS: dict[str, Any] = {
    "fastapi": fastapi,
    "starlette": starlette,
    "plain": starlette,
    "background": starlette,
    "fails": starlette,
    "alive": starlette,
    "sse-starlette": starlette,
    "django": django_app.app,
    "litestar": litestar,
    "litestar-sse": litestar,
    "raw": raw,
    "mcp": mcp,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        gc.disable()
        if mcp is not None:
            await mcp(scope, receive, send)
        else:
            raise RuntimeError("no lifespan")
    else:
        await APPS[scope["path"].split("/")[1]](scope, receive, send)
