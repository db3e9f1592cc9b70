"""JSON-RPC messages: bytes to struct and back, and what is none."""

import pytest

from hsrv.rpc.messages import (
    ErrorCode,
    InvalidMessage,
    Message,
    RpcError,
    decode,
    encode,
    error_response,
    notification,
    request,
    response,
)

MESSAGES = [
    request(1, "status", {"a": 1}),
    request("id", "ping", None),
    notification("progress", {"step": "x"}),
    response(1, {"ok": True}),
    error_response(2, RpcError(ErrorCode.BUSY, "too many", {"limit": 3})),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    line = encode(message)
    assert b"\n" not in line
    assert decode(line) == message


def test_a_response_may_have_null_as_its_result() -> None:
    line = encode(response(1, None))
    assert b'"result":null' in line, "without it the peer could not tell it from a request"
    assert decode(line) == response(1, None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"jsonrpc":"2.0"}',
        b'{"jsonrpc":"1.0","method":"ping"}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","result":1}',
        b'{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":"both"}}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":"text","message":"m"}}',
        b"[" * 100_000,
    ],
)
def test_anything_else_is_invalid(line: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode(line)


def test_an_error_response_carries_code_message_and_data() -> None:
    error = decode(encode(error_response(2, RpcError(ErrorCode.MOVED, "gone", {"pid": 7})))).error
    assert error is not None
    assert (error.code, error.message, error.data) == (-32005, "gone", {"pid": 7})
