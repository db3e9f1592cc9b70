"""Pairs of processes with a request and a cancel in flight, one of which is killed at a random moment.

Run as `python -m tests.unit.rpc.killed_pairs ROUNDS SEED`: a process without threads, so that it can fork. Prints what
went wrong, one line each.
"""

import asyncio
import gc
import logging
import os
import random
import select
import signal
import socket
import sys
import time
from typing import Any

import anyio
import structlog

from hsrv.rpc.dispatcher import Context, Dispatcher
from hsrv.rpc.framing import socket_streams
from hsrv.rpc.messages import ErrorCode, RpcError

DEADLINE = 10.0
SPREAD = 0.01
"""Seconds over which the moments of the kills are spread: what both sides do then is known to vary."""


def report(wrong: str) -> None:
    sys.stdout.write(f"{wrong}\n")
    sys.stdout.flush()


async def handler(context: Context, method: str, params: Any) -> Any:
    await anyio.sleep(params["seconds"])
    return "x" * params["size"]


async def ask(dispatcher: Dispatcher, dice: random.Random) -> None:
    """One request after the other: answered, timed out or cancelled, until the peer is gone."""
    while True:
        seconds, patience = dice.choice([0, 0, 0.001, 60]), dice.choice([0.001, 0.002])
        try:
            with anyio.move_on_after(dice.choice([patience, 60])):
                await dispatcher.send_raw_request(
                    "x", {"seconds": seconds, "size": dice.choice([1, 300_000])}, timeout=patience * 2
                )
        except RpcError as error:
            if error.code == ErrorCode.CONNECTION_CLOSED:
                return
            if error.code != ErrorCode.TIMEOUT:
                raise


async def live(sock: socket.socket, seed: int) -> None:
    dispatcher = Dispatcher(*socket_streams(sock))
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            await tasks.start(dispatcher.run, handler, handler)
            for number in range(3):
                tasks.start_soon(ask, dispatcher, random.Random(seed + number))
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        raise AssertionError(f"leaked: {left}")


def survive(sock: socket.socket, seed: int) -> int:
    """The life of one side; 0 if it ended as it should when the other was killed."""
    unraisable: list[Any] = []
    sys.unraisablehook = unraisable.append
    try:
        anyio.run(live, sock, seed)
        gc.collect()
    except BaseException as error:
        report(f"seed {seed}: {error!r}")
        return 1
    if unraisable:
        report(f"seed {seed}: unraisable {unraisable[0].exc_value!r}")
        return 1
    return 0


def start(ours: socket.socket, theirs: socket.socket, seed: int) -> int:
    pid = os.fork()
    if pid == 0:
        theirs.close()
        os._exit(survive(ours, seed))
    return pid


def one_round(seed: int) -> None:
    dice = random.Random(seed)
    left, right = socket.socketpair()
    pids = [start(left, right, seed), start(right, left, seed + 1000)]
    left.close()
    right.close()
    select.select([], [], [], 0.008 + dice.random() * SPREAD)
    victim, survivor = dice.sample(pids, 2)
    os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
    end = time.monotonic() + DEADLINE * 2
    while (ended := os.waitpid(survivor, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            report(f"seed {seed}: the survivor hangs")
            os.kill(survivor, signal.SIGKILL)
            ended = os.waitpid(survivor, 0)
            break
        select.select([], [], [], 0.001)
    if ended[1]:
        report(f"seed {seed}: the survivor ended with {os.waitstatus_to_exitcode(ended[1])}")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    gc.freeze()
    for number in range(int(sys.argv[1])):
        one_round(int(sys.argv[2]) + number)
