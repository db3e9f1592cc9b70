"""Starlette with BaseHTTPMiddleware, which turns every response into a stream."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class Tag(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-role"] = request.scope["extensions"]["hsrv"]["role"]
        return response


async def root(request: Request) -> Response:
    return JSONResponse({"hello": "world"})


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def download(request: Request) -> Response:
    size = int(request.query_params["size"])

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield b"x" * 65536
        yield b"x" * (size % 65536)

    return StreamingResponse(parts())


app = Starlette(
    routes=[Route("/", root), Route("/echo", echo, methods=["POST"]), Route("/download", download)],
    middleware=[Middleware(Tag)],
)
