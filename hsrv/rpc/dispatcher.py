"""Both ends of every control channel: JSON-RPC requests, notifications and cancellation over an object stream pair.

Promises, each with a test of its own:
- `run` is single-shot; `task_status.started()` fires once requests can be sent.
- An answer reaches the caller that asked, in whatever order answers come; at the end of the stream every caller wakes
  with CONNECTION_CLOSED. An abandoned request (timeout, cancelled caller) sends a courtesy cancel, bounded in time.
- Handlers run concurrently and cost only their own request when they raise. A request that its peer cancelled is never
  answered. At the end of the stream handlers are cancelled, and the write side closes last.
- A peer that floods, stalls or sends rubbish costs itself: inbound requests and every write are bounded.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

import anyio
import msgspec
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskGroup, TaskStatus

from hsrv.logging import get_logger
from hsrv.rpc.messages import (
    ErrorCode,
    InvalidMessage,
    Message,
    RequestId,
    RpcError,
    error_response,
    notification,
    request,
    response,
)

COURTESY_CANCEL_TIMEOUT: Final = 1.0
"""Seconds to tell a peer that we gave up. Shielded, so without a bound a full pipe would hang the caller's
cancellation."""

WRITE_TIMEOUT: Final = 10.0
"""Seconds for one message to be taken. A peer that doesn't read is treated as gone."""

FINAL_WRITE_TIMEOUT: Final = 1.0
"""Seconds for writes of handlers that are being cancelled, and for closing."""

MAX_INBOUND: Final = 128
"""Requests of the peer in progress. One more is answered BUSY."""

CANCEL: Final = "$/cancel"
PROGRESS: Final = "$/progress"

CLOSED: Final = RpcError(ErrorCode.CONNECTION_CLOSED, "the connection is closed")

log = get_logger("hsrv.rpc")

_GONE: Final = (anyio.ClosedResourceError, anyio.BrokenResourceError)


class _State(Enum):
    NEW = auto()
    RUNNING = auto()
    CLOSED = auto()


@dataclass(slots=True)
class Context:
    """What a handler knows of the message it handles."""

    dispatcher: "Dispatcher"
    request_id: RequestId | None
    """None for a notification."""
    meta: dict[str, Any]
    """`params._meta`: trace and log context of the sender."""
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    _open: bool = True

    async def notify(self, method: str, params: Any = None) -> None:
        """A notification to the peer, while the handler runs. Raises RuntimeError after it returned."""
        if not self._open:
            raise RuntimeError("the handler has returned")
        await self.dispatcher.notify(method, params)

    async def progress(self, step: str, **details: Any) -> None:
        """Report a step of a long request."""
        await self.notify(PROGRESS, {"id": self.request_id, "step": step, **details})


OnRequest = Callable[[Context, str, Any], Awaitable[Any]]
OnNotify = Callable[[Context, str, Any], Awaitable[None]]
Stream = ObjectReceiveStream[Message | Exception]


class Dispatcher:
    """One end of a control channel."""

    def __init__(self, read: Any, write: Any, *, name: str = "peer") -> None:
        self._read: ObjectReceiveStream[Message | Exception] = read
        self._write: ObjectSendStream[Message] = write
        self.name = name
        """Of the peer, for the log."""
        self._state = _State.NEW
        self._last_id = 0
        self._waiting: dict[RequestId, _Waiter] = {}
        self._inbound: dict[RequestId, tuple[anyio.CancelScope, Context]] = {}
        self.invalid = 0
        """Messages that were none."""

    # outbound

    async def send_raw_request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """The peer's result. Raises RpcError: the peer's own, TIMEOUT or CONNECTION_CLOSED; RuntimeError before
        `run()`."""
        if self._state is _State.NEW:
            raise RuntimeError("run() has not been started")
        if self._state is _State.CLOSED:
            raise CLOSED
        self._last_id += 1
        id_ = self._last_id
        waiter = self._waiting[id_] = _Waiter()
        try:
            with anyio.fail_after(timeout):
                await self._send(request(id_, method, params))
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
        """Tell the peer. On a closed stream it is dropped. Raises TypeError for what JSON can't hold."""
        try:
            await self._send(notification(method, params))
        except RpcError:
            log.debug("notification dropped", method=method, peer=self.name)

    async def _send(self, message: Message) -> None:
        if self._state is _State.CLOSED:
            raise CLOSED
        try:
            with anyio.move_on_after(WRITE_TIMEOUT) as scope:
                await self._write.send(message)
        except _GONE:
            raise CLOSED from None
        if scope.cancelled_caught:
            log.warning("peer does not read", peer=self.name, timeout=WRITE_TIMEOUT)
            raise CLOSED

    async def _courtesy_cancel(self, id_: RequestId) -> None:
        with anyio.move_on_after(COURTESY_CANCEL_TIMEOUT, shield=True), suppress(RpcError):
            await self._send(notification(CANCEL, {"id": id_}))

    # the receive loop

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
                task_status.started()
                await self._receive_all(tasks, on_request, on_notify)
                self._wake_all()
                tasks.cancel_scope.cancel()
        finally:
            await self._close()

    async def _close(self) -> None:
        self._state = _State.CLOSED
        self._wake_all()
        with anyio.move_on_after(FINAL_WRITE_TIMEOUT, shield=True):
            # The checkpoint also puts right coverage's tracer after a cancelled join on 3.11 (python/cpython#106749).
            await anyio.lowlevel.checkpoint()
            await self._read.aclose()
            await self._write.aclose()

    def _wake_all(self) -> None:
        for waiter in self._waiting.values():
            waiter.fail(CLOSED)

    async def _receive_all(self, tasks: TaskGroup, on_request: OnRequest, on_notify: OnNotify) -> None:
        while True:
            try:
                message = await self._read.receive()
            except (anyio.EndOfStream, *_GONE):
                return
            if isinstance(message, Exception):
                self._report_invalid(message)
            elif message.method is None:
                self._on_response(message)
            elif message.id is None:
                self._on_notification(tasks, message, on_notify)
            else:
                await self._on_request(tasks, message, on_request)

    def _report_invalid(self, error: Exception) -> None:
        self.invalid += 1
        if self.invalid & (self.invalid - 1) == 0:  # 1, 2, 4, 8 ...: a flood must not fill the log
            log.warning("invalid message", peer=self.name, error=str(error), count=self.invalid)

    def _on_response(self, message: Message) -> None:
        waiter = None if isinstance(message.id, bool) else self._waiting.get(message.id or 0)
        if waiter is None:
            log.debug("late response dropped", peer=self.name, id=message.id)
        elif message.error is not None:
            waiter.fail(RpcError(message.error.code, message.error.message, message.error.data))
        else:
            waiter.succeed(message.result)

    def _on_notification(self, tasks: TaskGroup, message: Message, on_notify: OnNotify) -> None:
        if message.method == CANCEL:
            self._on_cancel(message.params)
            return
        assert message.method is not None
        tasks.start_soon(self._handle_notification, message.method, message.params, on_notify)

    def _on_cancel(self, params: Any) -> None:
        id_ = params.get("id") if isinstance(params, dict) else None
        entry = self._inbound.pop(id_, None) if isinstance(id_, int | str) else None
        if entry is not None:
            scope, context = entry
            context.cancel_requested.set()
            scope.cancel()

    async def _on_request(self, tasks: TaskGroup, message: Message, on_request: OnRequest) -> None:
        assert message.id is not None
        if message.id in self._inbound:
            self._report_invalid(InvalidMessage(f"id {message.id!r} is in use"))
        elif len(self._inbound) >= MAX_INBOUND:
            await self._answer(
                error_response(message.id, RpcError(ErrorCode.BUSY, "too many requests in flight"))
            )
        else:
            context = Context(self, message.id, _meta(message.params))
            scope = anyio.CancelScope()
            self._inbound[message.id] = (scope, context)
            tasks.start_soon(self._handle_request, message, on_request, scope, context)

    # handlers

    async def _handle_request(
        self, message: Message, on_request: OnRequest, scope: anyio.CancelScope, context: Context
    ) -> None:
        assert message.id is not None
        assert message.method is not None
        with scope:
            try:
                answer = await self._call(message, on_request, context)
            finally:
                context._open = False
            if self._inbound.pop(message.id, None) is not None:
                await self._answer(answer)

    async def _call(self, message: Message, on_request: OnRequest, context: Context) -> Message:
        assert message.id is not None
        assert message.method is not None
        try:
            result = await on_request(context, message.method, message.params)
        except RpcError as error:
            return error_response(message.id, error)
        except Exception as error:  # a handler's defect costs its own request only
            log.error("handler raised", method=message.method, peer=self.name, exc_info=error)
            return error_response(
                message.id, RpcError(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
            )
        return response(message.id, result)

    async def _answer(self, message: Message) -> None:
        with anyio.move_on_after(FINAL_WRITE_TIMEOUT if self._state is _State.CLOSED else None, shield=True):
            try:
                await self._send(message)
            except RpcError:
                log.debug("answer dropped", peer=self.name, id=message.id)
            except (TypeError, ValueError) as error:
                assert message.id is not None
                log.error("answer is not JSON", peer=self.name, id=message.id, error=str(error))
                with suppress(RpcError):
                    await self._send(
                        error_response(message.id, RpcError(ErrorCode.INTERNAL, "result is not JSON"))
                    )

    async def _handle_notification(self, method: str, params: Any, on_notify: OnNotify) -> None:
        context = Context(self, None, _meta(params))
        try:
            await on_notify(context, method, params)
        except Exception as error:  # a handler's defect costs its own message only
            log.error("handler raised", method=method, peer=self.name, exc_info=error)
        finally:
            context._open = False


class _Waiter:
    """One request's answer, once."""

    __slots__ = ("_error", "_result", "done")

    def __init__(self) -> None:
        self.done = anyio.Event()
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


def _meta(params: Any) -> dict[str, Any]:
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}
