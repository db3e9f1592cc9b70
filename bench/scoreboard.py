"""What the scoreboard costs a plain request: `python -m bench.scoreboard`. hsrv alone, in one process, by CPU time.

A connection over a socket pair is asked for the same small response again and again, as a worker would answer it.
Rounds with a real scoreboard, with one whose every update does nothing, and with neither it nor the lock around the
application's steps, interleaved, each in a process of its own: in one process the interpreter would fit its code to
none of them. Both ends of the socket pair are counted, so the shares are a little less than in a worker.
"""

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from hsrv.board.scoreboard import Scoreboard, new_board
from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.terms import EndReason, Identity, Role
from hsrv.http.connection import HTTPConnection
from hsrv.http.host import HTTPHost
from hsrv.ipc.messages import Origin
from hsrv.net.conn import Conn
from hsrv.net.loops import new_loop
from hsrv.options.config import Config

REQUESTS: Final = 20_000
ROUNDS: Final = 9
REQUEST: Final = b"GET /hello HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})


class Silent(Scoreboard):
    """Takes every update and writes nothing."""

    __slots__ = ()

    def begin(self, now: float, method: str, path: bytes, request_id: str, client: bytes) -> None:
        pass

    def paused(self) -> None:
        pass

    def responded(self, status: int, seconds: float) -> None:
        pass


class Open:
    """No lock at all."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        pass


def microseconds(loop: asyncio.AbstractEventLoop, board: Scoreboard, turn: Any) -> float:
    """CPU time of a request."""
    config = Config(access_log=False)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        host = HTTPHost(Identity(Role.WORKER, 1, 1), config, app, loop, board)
        if turn is not None:
            host.turn = turn
        origin = Origin(client=("127.0.0.1", 1), server=("127.0.0.1", 2), accepted_at=0.0)
        connection = HTTPConnection(Conn(ours, loop, origin), host)
        host.opened(connection)

        async def ask() -> float:
            began = time.process_time()
            for _ in range(REQUESTS):
                theirs.sendall(REQUEST)
                loop.call_soon(connection.look)  # outside of this task, as the poller does it
                await asyncio.sleep(0)
                theirs.recv(4096)
            return time.process_time() - began

        connection.start()
        try:
            return 1e6 * loop.run_until_complete(ask()) / REQUESTS
        finally:
            connection.close(EndReason.COMPLETED)


FORMS: Final[dict[str, tuple[Callable[[], Scoreboard], Callable[[], Any]]]] = {
    "with both": (lambda: Scoreboard(new_board()), lambda: None),
    "without the scoreboard": (Silent, lambda: None),
    "without the lock": (lambda: Scoreboard(new_board()), Open),
    "without either": (Silent, Open),
}


def measure(form: str) -> None:
    """Print the CPU microseconds of a request. The first round warms up."""
    loop = new_loop("auto")
    asyncio.set_event_loop(loop)
    board, turn = (make() for make in FORMS[form])
    microseconds(loop, board, turn)
    print(microseconds(loop, board, turn))


def main() -> None:
    found: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(ROUNDS):
        for form, values in found.items():
            command = [sys.executable, "-m", "bench.scoreboard", form]
            values.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    least = statistics.median(found["without either"])
    print("| form | CPU µs per request | min | max | share |")
    print("|---|--:|--:|--:|--:|")
    for form, values in found.items():
        middle = statistics.median(values)
        print(
            f"| {form} | {middle:.2f} | {min(values):.2f} | {max(values):.2f} | {middle / least - 1:+.1%} |"
        )


if __name__ == "__main__":
    measure(sys.argv[1]) if sys.argv[1:] else main()
