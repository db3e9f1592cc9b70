"""Both ends of every control channel: JSON-RPC requests, notifications and cancellation over an object stream pair.

Promises, each with its own test:
- `run` is single-shot; `task_status.started()` fires once requests can be sent.
- A response reaches the caller of its request, in whatever order responses arrive; at the end of the stream every
  caller wakes with CONNECTION_CLOSED. An abandoned request (timeout, cancelled caller) sends a cancel, bounded in time.
- At the end of the stream handlers are cancelled, what they write while they end is still sent, and the write side
  closes last.
- A peer that floods, stalls or sends garbage harms only itself: its requests (`hsrv.rpc.inbound`) and every write are
  bounded.
"""

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context as SenderContext
from enum import Enum, auto
from typing import Any, Final

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskStatus

from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.rpc.credentials import Credentials
from hsrv.rpc.inbound import FINAL_WRITE_TIMEOUT, PROGRESS, Context, Inbound, OnNotify, OnRequest
from hsrv.rpc.memory import Sent
from hsrv.rpc.messages import (
    ErrorCode,
    InvalidMessage,
    Message,
    RequestId,
    RpcError,
    notification,
    request,
)
from hsrv.rpc.meta import with_meta

__all__ = ["CANCEL", "PROGRESS", "Context", "Dispatcher", "OnNotify", "OnProgress", "OnRequest"]

COURTESY_CANCEL_TIMEOUT: Final = 1.0
"""Seconds to send a cancel to the peer. Shielded, so without a timeout a full pipe would block the caller's
cancellation."""

WRITE_TIMEOUT: Final = 10.0
"""Seconds for the peer to accept one message."""

CANCEL: Final = "$/cancel"

OnProgress = Callable[[dict[str, Any]], None]

log = get_logger("hsrv.rpc")

_GONE: Final = (anyio.ClosedResourceError, anyio.BrokenResourceError)


def closed() -> RpcError:
    """The error for callers whose response will never come."""
    return RpcError(ErrorCode.CONNECTION_CLOSED, "the connection is closed")


class _State(Enum):
    NEW = auto()
    RUNNING = auto()
    ENDING = auto()
    """The read side has ended; handlers may still write."""
    CLOSED = auto()


class Dispatcher:
    """One end of a control channel."""

    def __init__(
        self, read: Any, write: Any, *, name: str = "peer", credentials: Credentials | None = None
    ) -> None:
        """`read`, `write`: object streams of `hsrv.rpc.framing` or `hsrv.rpc.memory`; owned from now on."""
        self._read = read
        self._write = write
        self.name = name
        """Of the peer, for the log."""
        self.credentials = credentials
        """Of the peer, where they are known."""
        self._state = _State.NEW
        self._last_id = 0
        self._waiting: dict[RequestId, _Waiter] = {}
        self.invalid = 0
        """Invalid messages received."""

    # outbound

    async def send_raw_request(
        self,
        method: str,
        params: Any = None,
        *,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Any:
        """The peer's result. Raises RpcError: the peer's own, TIMEOUT or CONNECTION_CLOSED; RuntimeError before
        `run()`. `on_progress` is called with the parameters of each progress notification."""
        if self._state is _State.NEW:
            raise RuntimeError("run() has not been started")
        if self._state is not _State.RUNNING:
            raise closed()
        self._last_id += 1
        id_ = self._last_id
        waiter = self._waiting[id_] = _Waiter(on_progress)
        try:
            with anyio.fail_after(timeout):
                await self.send(request(id_, method, with_meta(params)))
                await waiter.done.wait()
        except TimeoutError:
            await self._courtesy_cancel(id_)
            raise RpcError(ErrorCode.TIMEOUT, f"{method}: no answer within {timeout:g} s") from None
        except anyio.get_cancelled_exc_class():
            await self._courtesy_cancel(id_)
            raise
        finally:
            del self._waiting[id_]
        return waiter.result()

    async def notify(self, method: str, params: Any = None) -> None:
        """Send a notification. On a closed stream it is dropped. Raises TypeError for what JSON can't represent."""
        try:
            await self.send(notification(method, with_meta(params)))
        except RpcError:
            log.debug("notification dropped", method=method, peer=self.name)

    async def send(self, message: Message) -> None:
        """Write one message. Raises RpcError when the peer is gone or doesn't read, TypeError for what JSON can't
        represent."""
        if self._state is _State.CLOSED:
            raise closed()
        try:
            with anyio.move_on_after(WRITE_TIMEOUT) as scope:
                await self._write.send(message)
        except _GONE:
            raise closed() from None
        if scope.cancelled_caught:
            log.warning("peer does not read", peer=self.name, timeout=WRITE_TIMEOUT)
            raise closed()

    async def _courtesy_cancel(self, id_: RequestId) -> None:
        with anyio.move_on_after(COURTESY_CANCEL_TIMEOUT, shield=True), suppress(RpcError):
            await self.send(notification(CANCEL, {"id": id_}))

    # life

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Receive until the read stream ends. Single-shot: RuntimeError the second time."""
        if self._state is not _State.NEW:
            raise RuntimeError("a dispatcher runs once")
        self._state = _State.RUNNING
        try:
            async with anyio.create_task_group() as tasks:
                inbound = Inbound(self, on_request, on_notify, tasks)
                task_status.started()
                try:
                    await self._receive_all(inbound)
                finally:  # also on cancellation: responses are no longer read, so callers must not wait
                    self._state = _State.ENDING
                    self._wake_all()
                    inbound.end()
                    tasks.cancel_scope.cancel()
        finally:
            await self._close()

    async def _close(self) -> None:
        with anyio.move_on_after(FINAL_WRITE_TIMEOUT, shield=True):
            # The checkpoint also restores coverage's tracer after a cancelled join on 3.11 (python/cpython#106749).
            await anyio.lowlevel.checkpoint()
        self._state = _State.CLOSED
        self._wake_all()
        with anyio.move_on_after(FINAL_WRITE_TIMEOUT, shield=True):
            await self._read.aclose()
            await self._write.aclose()

    def _wake_all(self) -> None:
        for waiter in self._waiting.values():
            waiter.fail(closed())

    # the receive loop

    async def _receive_all(self, inbound: Inbound) -> None:
        while True:
            try:
                item = await self._read.receive()
            except (anyio.EndOfStream, *_GONE):
                return
            message, sender = (item.message, item.context) if isinstance(item, Sent) else (item, None)
            try:
                self._take(inbound, message, sender)
            except InvalidMessage as error:
                self._report_invalid(error)
            await (
                anyio.lowlevel.checkpoint()
            )  # one message per turn: cancels take effect before what follows them

    def _take(self, inbound: Inbound, message: Message | Exception, sender: SenderContext | None) -> None:
        if isinstance(message, Exception):
            raise message
        if isinstance(message.id, bool):  # a bool is an int in Python; only a memory stream can deliver it
            raise InvalidMessage("the id is a boolean")
        if message.method is None:
            self._on_response(message)
        elif message.id is not None:
            if not inbound.request(message, sender):
                raise InvalidMessage(f"id {message.id!r} is in use")
        elif message.method == CANCEL:
            inbound.cancel(_id_in(message.params))
        elif message.method == PROGRESS:
            self._on_progress(message.params)
        else:
            inbound.notification(message, sender)

    def _report_invalid(self, error: Exception) -> None:
        self.invalid += 1
        if count := lines_due("invalid message", self.name):
            log.warning("invalid message", peer=self.name, error=str(error), count=count)

    def _on_response(self, message: Message) -> None:
        waiter = self._waiting.get(message.id) if message.id is not None else None
        if waiter is None:
            log.debug("late response dropped", peer=self.name, id=message.id)
        elif message.error is not None:
            waiter.fail(RpcError(message.error.code, message.error.message, message.error.data))
        else:
            waiter.succeed(message.result)

    def _on_progress(self, params: Any) -> None:
        id_ = _id_in(params)
        waiter = self._waiting.get(id_) if isinstance(id_, int | str) else None
        if waiter is None or waiter.on_progress is None:
            return
        try:
            waiter.on_progress(params)
        except Exception as error:  # a defect of the caller; the loop serves others too
            log.error("progress handler raised", peer=self.name, exc_info=error)


class _Waiter:
    """The response to one request, set once."""

    __slots__ = ("_error", "_result", "done", "on_progress")

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.done = anyio.Event()
        self.on_progress = on_progress
        self._result: Any = msgspec.UNSET
        self._error: RpcError | None = None

    def succeed(self, result: Any) -> None:
        if not self.done.is_set():
            self._result = result
            self.done.set()

    def fail(self, error: RpcError) -> None:
        if not self.done.is_set():
            self._error = error
            self.done.set()

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


def _id_in(params: Any) -> Any:
    """The request id in a cancel or progress notification."""
    return params.get("id") if isinstance(params, dict) else None
