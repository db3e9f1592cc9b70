"""What lives of requests and WebSockets in this process: for applications that are asked for it, below /alive.

The collector is off in them: nothing may wait for it.
"""

import asyncio
import gc
import os

from hsrv.asyncpool.websocket.codecs.frames import FrameCodec
from hsrv.asyncpool.websocket.link import WebSocketLink
from hsrv.asyncpool.websocket.session import WebSocketSession
from hsrv.http.connection import HTTPConnection
from hsrv.http.request.exchange import Exchange
from hsrv.net.conn import Conn

KINDS = (Exchange, HTTPConnection, Conn, WebSocketSession, WebSocketLink, FrameCodec)

begun: set[str] = set()
"""Generators whose `finally` is still to come."""


def alive() -> dict[str, int]:
    found: dict[str, int] = {"tasks": len(asyncio.all_tasks()), "generators": len(begun)}
    with os.scandir("/proc/self/fd") as entries:
        found["descriptors"] = sum(1 for _ in entries)
    for kind in KINDS:
        found[kind.__name__] = sum(isinstance(one, kind) for one in gc.get_objects())
    return found
