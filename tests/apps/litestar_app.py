"""Litestar."""

from collections.abc import AsyncIterator

from litestar import Litestar, Request, get, post
from litestar.response import Stream


@get("/", sync_to_thread=False)
def root() -> dict[str, str]:
    return {"hello": "world"}


@post("/echo")
async def echo(request: Request) -> bytes:  # type: ignore[type-arg]  # its parameters don't matter here
    return await request.body()


@get("/download")
async def download(size: int) -> Stream:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield b"x" * 65536
        yield b"x" * (size % 65536)

    return Stream(parts())


app = Litestar([root, echo, download])
