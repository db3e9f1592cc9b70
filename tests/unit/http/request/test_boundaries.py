"""Where an event stream may end."""

import pytest

from hsrv.http.request.boundaries import EVENT_BOUNDARIES, TAIL_SIZE, at_boundary, cut_at_boundary, tail_of

BODY = "http.response.body"


@pytest.mark.parametrize("mark", EVENT_BOUNDARIES)
def test_the_boundary_is_found_wherever_two_messages_are_cut(mark: bytes) -> None:
    text = b"data: 1" + mark + b"data: 2" + mark
    end = len(b"data: 1" + mark)
    for cut in range(1, end):
        tail = tail_of(b"", text[:cut])
        message = {"type": BODY, "body": text[cut:], "more_body": True}
        assert cut_at_boundary(message, tail) == {"type": BODY, "body": text[cut:end], "more_body": False}


def test_a_boundary_that_was_written_before_ends_nothing_any_more() -> None:
    message = {"type": BODY, "body": b"data: 2", "more_body": True}
    assert cut_at_boundary(message, b"1\n\n") == message


def test_without_a_boundary_the_message_is_sent_whole() -> None:
    message = {"type": BODY, "body": b"data: 2\n", "more_body": True}
    assert cut_at_boundary(message, b"a: 1") == message


@pytest.mark.parametrize("mark", EVENT_BOUNDARIES)
@pytest.mark.parametrize("size", range(1, TAIL_SIZE + 2))
def test_the_tail_tells_a_boundary_however_small_the_pieces_are(mark: bytes, size: int) -> None:
    tail = b""
    text = b"data: 1" + mark
    for start in range(0, len(text), size):
        assert at_boundary(tail) is (start == 0)
        tail = tail_of(tail, memoryview(text)[start : start + size].tobytes())
    assert at_boundary(tail)


def test_a_stream_that_has_sent_nothing_stands_at_a_boundary() -> None:
    assert at_boundary(b"")
