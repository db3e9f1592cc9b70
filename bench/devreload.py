"""From a save to the first answer of the new code: `python -m bench.devreload`, side by side, in development mode.

The application imports FastAPI, SQLAlchemy and numpy, as real ones do. Each server is saved to several times, without and
with an open event stream and WebSocket (a browser tab). A client asks without pause on new connections; what it is refused,
or cut off in the middle of, is counted. Interleaved rounds: every server once, then again.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect

APP: Final = """
import asyncio
import numpy, sqlalchemy, sqlalchemy.orm
from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse

VERSION = "{version}"
app = FastAPI()

@app.get("/", response_class=PlainTextResponse)
async def version():
    return VERSION

@app.get("/sse")
async def sse():
    async def events():
        while True:
            yield "data: tick\\n\\n"
            await asyncio.sleep(0.1)
    return StreamingResponse(events(), media_type="text/event-stream")

@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)
"""

SERVERS: Final = {
    "hsrv": "-m hsrv start website:app --reload --no-access-log --bind 127.0.0.1:{port}",
    "uvicorn": "-m uvicorn website:app --reload --no-access-log --port {port}",
    "granian": "-m granian --interface asgi website:app --reload --port {port}",
    "hypercorn": "-m hypercorn website:app --reload --bind 127.0.0.1:{port}",
}
GIVE_UP: Final = 5.0
"""Seconds for a save to be served. A server that needs longer hangs."""


@dataclass
class Outcome:
    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    """Connections that were refused."""
    cut: int = 0
    """Requests whose connection was closed or reset before the answer."""
    hung: int = 0
    """Saves that were not served within GIVE_UP."""


class Project:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "website.py"
        self.version = 0
        self.save()

    def save(self) -> str:
        """As editors do: a new file takes the name of the old one."""
        self.version += 1
        draft = self.file.with_suffix(".tmp")
        draft.write_text(APP.format(version=f"v{self.version}"))
        draft.rename(self.file)
        return f"v{self.version}"


async def ask(port: int, outcome: Outcome) -> str:
    """The version that is served; "" when the request failed."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        outcome.refused += 1
        await asyncio.sleep(0.005)
        return ""
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        answer = await reader.read(65536)
        while (
            answer and not answer.rstrip().rpartition(b"\r\n\r\n")[2] and (more := await reader.read(65536))
        ):
            answer += more
    except OSError:
        answer = b""
    finally:
        writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        outcome.cut += 1
        return ""
    return answer.rpartition(b"\r\n\r\n")[2].decode().strip()


async def served(port: int, version: str, outcome: Outcome) -> float:
    """Seconds until the version is served; GIVE_UP when it isn't, also when a request is never answered."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(GIVE_UP):
            while await ask(port, outcome) != version:
                continue
    except TimeoutError:
        outcome.hung += 1
    return time.monotonic() - began


async def started(port: int) -> None:
    first = Outcome()
    for _ in range(12):
        await served(port, "v1", first)
        if not first.hung:
            return
        first = Outcome()
    raise SystemExit("the server does not start")


@asynccontextmanager
async def open_tab(port: int) -> AsyncIterator[None]:
    """An event stream and a WebSocket that come back when they are cut, as a browser's do."""

    async def listen() -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /sse HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
                while await reader.read(65536):
                    continue
                writer.close()
            except OSError:
                await asyncio.sleep(0.05)

    async def chat() -> None:
        while True:
            try:
                async with connect(f"ws://127.0.0.1:{port}/ws") as websocket:
                    await websocket.recv()
            except Exception:  # whatever the library calls an end
                await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(listen()), asyncio.create_task(chat())]
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def measure(name: str, saves: int, tab: bool) -> Outcome:
    """Start a server, save several times, end it."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        project = Project(Path(folder))
        command = [sys.executable, *SERVERS[name].format(port=port).split()]
        environment = {**os.environ, "HSRV_RUN_DIR": folder}
        process = subprocess.Popen(  # noqa: ASYNC220  # before anything is measured
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await started(port)
            async with AsyncExitStack() as stack:
                if tab:
                    await stack.enter_async_context(open_tab(port))
                for _ in range(saves):
                    await asyncio.sleep(0.7)
                    outcome.seconds.append(await served(port, project.save(), outcome))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return outcome


def table(outcomes: dict[tuple[str, bool], list[Outcome]]) -> str:
    lines = [
        "| server | open tab | median ms | min | max | refused | cut | hung saves |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (name, tab), found in outcomes.items():
        times = [1000 * seconds for outcome in found for seconds in outcome.seconds]
        lines.append(
            f"| {name} | {'yes' if tab else 'no'} | {statistics.median(times):.0f} | {min(times):.0f} | {max(times):.0f} "
            f"| {sum(one.refused for one in found)} | {sum(one.cut for one in found)} | {sum(one.hung for one in found)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for devreload.md and devreload.json")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and the server with us
    outcomes: dict[tuple[str, bool], list[Outcome]] = defaultdict(list)
    for _ in range(given.rounds):
        for name in given.servers.split(","):
            for tab in (False, True):
                outcomes[name, tab].append(asyncio.run(measure(name, given.saves, tab)))
    print(table(outcomes))
    if given.out is not None:
        raw: list[dict[str, Any]] = [
            {"server": name, "open_tab": tab, **vars(outcome)}
            for (name, tab), found in outcomes.items()
            for outcome in found
        ]
        (given.out / "devreload.json").write_text(json.dumps(raw, indent=1) + "\n")
        (given.out / "devreload.md").write_text(f"{__doc__}\n{table(outcomes)}")


if __name__ == "__main__":
    main()
