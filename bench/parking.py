"""What the parking lot gives and costs: `python -m bench.parking`. hsrv alone, with and without `--park-after`.

Two workers. 200 clients on kept connections ask for little and then think, longer or shorter than `--park-after`. In the
loaded rows 3 more ask for 200 ms of CPU over and over. Latency as the clients see it, CPU of the whole server per request.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

CLIENTS: Final = 200
BURNERS: Final = 3
SECONDS: Final = 10.0
BURN: Final = b"GET /burn?s=0.2 HTTP/1.1\r\nHost: bench\r\n\r\n"
QUICK: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
ROOT: Final = Path(__file__).parent.parent


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> float:
    began = time.monotonic()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return time.monotonic() - began


async def client(port: int, request: bytes, think: float, end: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.monotonic() < end:
            times.append(await ask(reader, writer, request))
            await asyncio.sleep(think)
    finally:
        writer.close()


async def load(port: int, think: float, burners: int) -> list[float]:
    quick: list[float] = []
    slow: list[float] = []
    end = time.monotonic() + SECONDS
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(client(port, QUICK, think, end, quick))
            await asyncio.sleep(think / CLIENTS)  # not all at once
        for _ in range(burners):
            tasks.create_task(client(port, BURN, 0.0, end, slow))
    return quick


def cpu(process: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])


def measure(park_after: float, think: float, burners: int) -> tuple[float, float, float]:
    """p50 and p99 in milliseconds, CPU in microseconds per quick request."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "hsrv",
            "start",
            "tests.apps.raw:app",
            "--workers",
            "2",
            "--no-access-log",
        ]
        command += [
            "--bind",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--run-dir",
            folder,
            "--park-after",
            str(park_after),
        ]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as server:
            assert server.stderr is not None
            try:
                entries = (json.loads(line) for line in server.stderr)
                url = next(entry["urls"][0] for entry in entries if entry["event"] == "listening")
                process = psutil.Process(server.pid)
                before = cpu(process)
                times = sorted(asyncio.run(load(int(url.rpartition(":")[2]), think, burners)))
                used = cpu(process) - before
            finally:
                server.terminate()
    return 1000 * statistics.median(times), 1000 * times[int(len(times) * 0.99)], 1e6 * used / len(times)


def main() -> None:
    print("| think time s | CPU-bound clients | --park-after | p50 ms | p99 ms | CPU µs per request |")
    print("|--:|--:|--:|--:|--:|--:|")
    for think, burners in ((0.5, 0), (1.5, 0), (1.5, BURNERS)):
        for park_after in (0.0, 1.0, 0.1):
            p50, p99, micros = measure(park_after, think, burners)
            shown = f"{micros:.0f}" if not burners else ""
            print(f"| {think:g} | {burners} | {park_after:g} | {p50:.1f} | {p99:.1f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
