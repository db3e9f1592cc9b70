"""The messages that an application sends for a WebSocket: their kinds, and the content of `websocket.close`. Pure."""

from typing import Final

from hsrv.asyncpool.websocket.codecs.events import MAX_REASON, NORMAL, may_be_sent
from hsrv.asyncpool.websocket.states import AppMessage
from hsrv.common.asgi import Message
from hsrv.common.errors import AppError

_KINDS: Final = {
    "websocket.accept": AppMessage.ACCEPT,
    "websocket.send": AppMessage.SEND,
    "websocket.close": AppMessage.CLOSE,
    "websocket.http.response.start": AppMessage.RESPOND,
}


def kind_of(message: Message) -> AppMessage:
    """Raises `AppError` for a type that is not one of a WebSocket's."""
    kind = message["type"]
    if kind == "websocket.http.response.body":
        return AppMessage.BODY if message.get("more_body") else AppMessage.LAST_BODY
    if kind not in _KINDS:
        raise AppError(f"unexpected ASGI message type {kind!r}")
    return _KINDS[kind]


def close_of(message: Message) -> tuple[int, str]:
    """Code and reason of a `websocket.close`. Raises `AppError` if a close frame may not carry them."""
    code, reason = message.get("code", NORMAL), message.get("reason") or ""
    if not may_be_sent(code):
        raise AppError(f"websocket.close: the code {code!r} may not be sent (RFC 6455 section 7.4)")
    if len(reason.encode()) > MAX_REASON:
        raise AppError(f"websocket.close: the reason is longer than {MAX_REASON} bytes: {reason!r}")
    return code, reason
