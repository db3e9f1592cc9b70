"""How late are stream ticks while every worker burns CPU? hsrv, and other servers beside it where they are installed.

200 server-sent-event clients, ten ticks a second each, for SECONDS; meanwhile 8 clients ask for 200 ms of pure-Python
work over and over. A tick's lateness is the time from when it was due, counted from the client's first tick, to when the
client read it. Ticks that never came count as lost. Same application, same number of processes for every server.

    python bench/lateness.py [SECONDS]
"""

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

CLIENTS = 200
BURNERS = 8
INTERVAL = 0.1
WORKERS = 8
HERE = Path(__file__).parent

# fmt: off
SERVERS = {
    "hsrv": ["-m", "hsrv", "start", "lateness_app:app", "-w", str(WORKERS), "-b", "127.0.0.1:{port}", "--no-access-log"],
    "uvicorn": ["-m", "uvicorn", "lateness_app:app", "--workers", str(WORKERS), "--port", "{port}", "--no-access-log"],
    "gunicorn": ["-m", "gunicorn", "lateness_app:app", "-k", "asgi", "-w", str(WORKERS), "-b", "127.0.0.1:{port}"],
    "granian": ["-m", "granian", "lateness_app:app", "--interface", "asgi", "--workers", str(WORKERS), "--port", "{port}"],
    "hypercorn": ["-m", "hypercorn", "lateness_app:app", "-w", str(WORKERS), "-b", "127.0.0.1:{port}"],
}
# fmt: on


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def installed(name: str) -> bool:
    command = [sys.executable, "-c", f"import {name}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


async def stream(port: int, seconds: float, late: list[float]) -> int:
    """Read ticks for `seconds`; how many should have come and did not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ticks HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    began, count, offset = time.monotonic(), 0, None
    try:
        async with asyncio.timeout(seconds):
            while True:
                line = await reader.readline()
                if not line:
                    break
                if line.startswith(b"data: "):
                    now = time.monotonic()
                    number = int(line[6:])
                    offset = now if offset is None else offset
                    late.append(now - (offset + number * INTERVAL))
                    count += 1
    except TimeoutError:
        pass
    writer.close()
    return max(0, int((time.monotonic() - began) / INTERVAL) - count)


async def burner(port: int, end: float) -> int:
    """Ask for CPU work on one connection until `end`; the number of answers."""
    answers = 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < end:
        writer.write(b"GET /burn HTTP/1.1\r\nHost: bench\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head)
        await reader.readexactly(2)
        answers += 1
    writer.close()
    return answers


async def measure(port: int, seconds: float) -> tuple[list[float], int, int]:
    late: list[float] = []
    end = time.monotonic() + seconds
    results = await asyncio.gather(
        *(stream(port, seconds, late) for _ in range(CLIENTS)), *(burner(port, end) for _ in range(BURNERS))
    )
    return late, sum(results[:CLIENTS]), sum(results[CLIENTS:])


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
                if sock.recv(12) == b"HTTP/1.1 200":
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not come up")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    print(f"{CLIENTS} streams at {1 / INTERVAL:g} Hz, {BURNERS} CPU-bound clients, {os.cpu_count()} CPUs")
    print(f"{seconds:g} s, Python {sys.version.split()[0]}\n")
    print("| server | p50 ms | p99 ms | max ms | ticks lost | burns answered |\n|---|--:|--:|--:|--:|--:|")
    for name, arguments in SERVERS.items():
        if not installed(name):
            print(f"| {name} | not installed here | | | | |")
            continue
        port = free_port()
        command = [sys.executable, *(part.format(port=port) for part in arguments)]
        process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(port, process)
            late, lost, burnt = asyncio.run(measure(port, seconds))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        cuts = statistics.quantiles(late, n=100)
        figures = " | ".join(f"{value * 1000:.1f}" for value in (cuts[49], cuts[98], max(late)))
        print(f"| {name} | {figures} | {lost} of {lost + len(late)} | {burnt} |", flush=True)


if __name__ == "__main__":
    main()
