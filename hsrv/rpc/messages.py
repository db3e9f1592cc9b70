"""JSON-RPC 2.0 messages as structs: bytes to message and back. Pure."""

from typing import Any, Final, Literal

import msgspec

RequestId = int | str


class ErrorCode:
    """Codes of error responses (JSON-RPC 2.0 section 5.1, and our own)."""

    PARSE: Final = -32700
    INVALID_REQUEST: Final = -32600
    METHOD_NOT_FOUND: Final = -32601
    INVALID_PARAMS: Final = -32602
    INTERNAL: Final = -32603
    CONNECTION_CLOSED: Final = -32000
    """The peer is gone; no answer will come."""
    TIMEOUT: Final = -32001
    BUSY: Final = -32002
    """Too many requests in flight."""
    REFUSED: Final = -32003
    """The peer declines the request, with the reason in the message."""
    FAILED: Final = -32004
    """The request failed; `data` may contain a traceback."""
    MOVED: Final = -32005
    """Another supervisor has taken over the server; `data.pid` is its pid."""


class RpcError(Exception):
    """An error response: raised by handlers, and by `send_raw_request` for an error response of the peer."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class InvalidMessage(Exception):
    """A line that is not a JSON-RPC message. Delivered by the read stream instead of a message."""


class ErrorObject(msgspec.Struct, frozen=True):
    code: int
    message: str
    data: Any = None


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any JSON-RPC message: a request, a notification or a response."""

    jsonrpc: Literal["2.0"]
    id: RequestId | None = None
    method: str | None = None
    params: Any = None
    result: Any = msgspec.UNSET
    error: ErrorObject | None = None


def request(id_: RequestId, method: str, params: Any) -> Message:
    return Message(jsonrpc="2.0", id=id_, method=method, params=params)


def notification(method: str, params: Any) -> Message:
    return Message(jsonrpc="2.0", method=method, params=params)


def response(id_: RequestId, result: Any) -> Message:
    return Message(jsonrpc="2.0", id=id_, result=result)


def error_response(id_: RequestId, error: RpcError) -> Message:
    return Message(jsonrpc="2.0", id=id_, error=ErrorObject(error.code, error.message, error.data))


_decoder: Final = msgspec.json.Decoder(Message)
_encoder: Final = msgspec.json.Encoder()


def encode(message: Message) -> bytes:
    """One line's content, without the newline. Raises TypeError for what JSON can't represent."""
    return _encoder.encode(message)


def decode(line: bytes) -> Message:
    """Raises InvalidMessage."""
    try:
        message = _decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidMessage(str(error)) from error
    if message.method is None and (
        message.id is None or (message.error is None) == (message.result is msgspec.UNSET)
    ):
        raise InvalidMessage("neither request, notification nor response")
    return message
