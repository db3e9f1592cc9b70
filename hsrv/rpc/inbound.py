"""Requests and notifications of the peer: concurrency limits, context and responses.

Owns every request and notification of the peer from its arrival to its response. Promises: handlers run concurrently,
and an exception affects only its own message; no second response to one id; a request that the peer cancelled gets no
response; messages beyond the limits are refused or dropped, never queued.
"""

from collections.abc import Awaitable, Callable
from contextvars import Context as SenderContext
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup

from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.rpc import meta
from hsrv.rpc.credentials import Credentials
from hsrv.rpc.messages import (
    ErrorCode,
    Message,
    RequestId,
    RpcError,
    error_response,
    response,
)

MAX_INBOUND: Final = 128
"""Requests of the peer in progress. One more is answered BUSY."""

MAX_REFUSALS: Final = 16
"""BUSY responses waiting to be written. Beyond that, requests get no response."""

MAX_NOTIFICATIONS: Final = 128
"""Notifications of the peer in progress. One more is dropped."""

FINAL_WRITE_TIMEOUT: Final = 1.0
"""Seconds for responses that are being written when the channel ends. Shielded, so without a timeout a full pipe would
block the end."""

PROGRESS: Final = "$/progress"

log = get_logger("hsrv.rpc")


class Sender(Protocol):
    """Sends responses to the peer."""

    name: str
    """Of the peer, for the log."""
    credentials: Credentials | None

    async def send(self, message: Message) -> None:
        """Raises RpcError (the peer is gone or doesn't read), TypeError (not JSON) or ValueError (too large)."""

    async def notify(self, method: str, params: Any = None) -> None: ...

    async def send_raw_request(
        self, method: str, params: Any = None, *, timeout: float | None = None
    ) -> Any: ...


@dataclass(slots=True)
class Context:
    """Passed to a handler: facts about its message, and methods to send to the peer."""

    channel: Sender
    request_id: RequestId | None
    """None for a notification."""
    meta: dict[str, Any]
    """`params._meta`: trace and log context of the sender."""
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    """Set just before the handler is cancelled by the peer; not when the channel ends."""
    _open: bool = True

    @property
    def credentials(self) -> Credentials | None:
        """Credentials of the peer process, if the channel has them."""
        return self.channel.credentials

    async def notify(self, method: str, params: Any = None) -> None:
        """A notification to the peer, while the handler runs. Raises RuntimeError after it returned."""
        self._check_open()
        await self.channel.notify(method, params)

    async def request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Any:
        """A request to the peer, while the handler runs. Raises RpcError; RuntimeError after it returned."""
        self._check_open()
        return await self.channel.send_raw_request(method, params, timeout=timeout)

    async def progress(self, step: str, **details: Any) -> None:
        """Report a step of a long request."""
        await self.notify(PROGRESS, {"id": self.request_id, "step": step, **details})

    def close(self) -> None:
        """The handler has returned: the context can't be used any more."""
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("the handler has returned")


OnRequest = Callable[[Context, str, Any], Awaitable[Any]]
OnNotify = Callable[[Context, str, Any], Awaitable[None]]


@dataclass(slots=True)
class _Request:
    """A request of the peer."""

    id: RequestId
    method: str
    params: Any
    context: Context
    handling: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    answering: anyio.CancelScope = field(default_factory=lambda: anyio.CancelScope(shield=True))

    def cancel(self) -> None:
        self.context.cancel_requested.set()
        self.handling.cancel()
        self.answering.cancel()


class Inbound:
    """The peer's messages in progress."""

    def __init__(self, channel: Sender, on_request: OnRequest, on_notify: OnNotify, tasks: TaskGroup) -> None:
        self._channel = channel
        self._on_request = on_request
        self._on_notify = on_notify
        self._tasks = tasks
        self._requests: dict[RequestId, _Request] = {}
        self._refusals = 0
        self._notifications = 0
        self.dropped = 0
        """Messages of a flood that were neither handled nor answered."""

    def request(self, message: Message, sender: SenderContext | None) -> bool:
        """Handle it and respond. False: its id is in use, so the responses could not be distinguished."""
        assert message.id is not None
        assert message.method is not None
        if message.id in self._requests:
            return False
        if len(self._requests) >= MAX_INBOUND:
            self._refuse(message.id)
            return True
        context = Context(self._channel, message.id, meta.meta_of(message.params))
        asked = self._requests[message.id] = _Request(message.id, message.method, message.params, context)
        self._spawn(sender, self._handle_request, asked)
        return True

    def notification(self, message: Message, sender: SenderContext | None) -> None:
        """Handle it."""
        if self._notifications >= MAX_NOTIFICATIONS:
            self._drop("too many notifications in progress")
            return
        self._notifications += 1
        self._spawn(sender, self._handle_notification, message)

    def cancel(self, id_: Any) -> None:
        """The peer no longer wants the response. An unknown id (a late or invalid cancel) is ignored."""
        asked = self._requests.get(id_) if isinstance(id_, int | str) and not isinstance(id_, bool) else None
        if asked is not None:
            asked.cancel()

    def end(self) -> None:
        """The channel ends: responses being written get FINAL_WRITE_TIMEOUT, the task group cancels the handlers."""
        for asked in self._requests.values():
            asked.answering.deadline = min(
                asked.answering.deadline, anyio.current_time() + FINAL_WRITE_TIMEOUT
            )

    def _spawn(self, sender: SenderContext | None, function: Callable[..., Any], *args: Any) -> None:
        start = self._tasks.start_soon
        if sender is None:
            start(function, *args)
        else:
            sender.run(start, function, *args)

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if count := lines_due("message dropped", self._channel.name):
            log.warning("message dropped", peer=self._channel.name, why=why, count=count)

    # requests

    def _refuse(self, id_: RequestId) -> None:
        if self._refusals >= MAX_REFUSALS:
            self._drop("too many requests in flight")
        else:
            self._refusals += 1
            self._tasks.start_soon(self._send_refusal, id_)

    async def _send_refusal(self, id_: RequestId) -> None:
        try:
            await self._try_to_send(
                error_response(id_, RpcError(ErrorCode.BUSY, "too many requests in flight"))
            )
        finally:
            self._refusals -= 1

    async def _handle_request(self, asked: _Request) -> None:
        try:
            with asked.handling:
                meta.enter(asked.context.meta)
                answer = await self._call(asked)
                asked.context.close()
                with asked.answering:
                    await self._answer(answer)
        except anyio.get_cancelled_exc_class():
            # Cancelled by the end of the channel, not by the peer: a half-closed peer still reads the response.
            with anyio.move_on_after(FINAL_WRITE_TIMEOUT, shield=True):
                error = RpcError(ErrorCode.CONNECTION_CLOSED, "the channel ended before the answer")
                await self._try_to_send(error_response(asked.id, error))
            raise
        finally:
            asked.context.close()
            del self._requests[asked.id]

    async def _call(self, asked: _Request) -> Message:
        try:
            result = await self._on_request(asked.context, asked.method, asked.params)
        except RpcError as error:
            return error_response(asked.id, error)
        except Exception as error:  # a handler's defect costs its own request only
            log.error("handler raised", method=asked.method, peer=self._channel.name, exc_info=error)
            return error_response(asked.id, RpcError(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}"))
        return response(asked.id, result)

    async def _answer(self, message: Message) -> None:
        assert message.id is not None
        try:
            await self._try_to_send(message)
        except (TypeError, ValueError) as error:
            log.error("answer can't be sent", peer=self._channel.name, id=message.id, error=str(error))
            substitute = RpcError(ErrorCode.INTERNAL, f"the result is not JSON, or too large: {error}")
            await self._try_to_send(error_response(message.id, substitute))

    async def _try_to_send(self, message: Message) -> None:
        try:
            await self._channel.send(message)
        except RpcError:
            log.debug("answer dropped", peer=self._channel.name, id=message.id)

    # notifications

    async def _handle_notification(self, message: Message) -> None:
        context = Context(self._channel, None, meta.meta_of(message.params))
        try:
            meta.enter(context.meta)
            await self._on_notify(context, message.method or "", message.params)
        except RpcError as error:  # refused, as a request would be, but there is no response
            log.debug(
                "notification refused", method=message.method, peer=self._channel.name, error=str(error)
            )
        except Exception as error:  # a handler's defect costs its own message only
            log.error("handler raised", method=message.method, peer=self._channel.name, exc_info=error)
        finally:
            context.close()
            self._notifications -= 1
