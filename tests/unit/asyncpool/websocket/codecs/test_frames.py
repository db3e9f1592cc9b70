"""What only the codec of ours has: masks undone in two ways, and nothing kept of what was interpreted."""

import pytest
from wsproto.frame_protocol import XorMaskerSimple

from hsrv.asyncpool.websocket.codecs import frames as ws_frames
from hsrv.asyncpool.websocket.codecs.events import FrameError, Ping, Received
from hsrv.asyncpool.websocket.codecs.frames import FrameCodec, unmask_in_python

MASK = b"\x05\x06\x07\x08"


def masked(data: bytes, mask: bytes = MASK) -> bytes:
    return bytes(XorMaskerSimple(mask).process(bytearray(data)))


@pytest.mark.parametrize("unmask", [unmask_in_python, ws_frames.unmask])
@pytest.mark.parametrize("mask", [MASK, bytes(4), b"\xff\x00\x80\x7f"])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 64, 125, 1023, 1024, 1025, 70_001])
def test_a_mask_is_undone_whatever_does_it(unmask: ws_frames.Unmask, mask: bytes, size: int) -> None:
    data = (bytes(range(256)) * 300)[:size]
    plain = unmask(masked(data, mask), mask)
    assert plain == data
    assert type(plain) is bytes


def test_the_codec_works_without_the_mask_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws_frames, "unmask", unmask_in_python)
    codec = FrameCodec(100, None)
    codec.feed(b"\x82\x83" + MASK + masked(b"abc") + b"\x89\x81" + MASK + masked(b"p"))
    assert [codec.next_event(), codec.next_event(), codec.next_event()] == [
        Received(b"abc", 3),
        Ping(b"p"),
        None,
    ]


def test_a_large_frame_is_taken_as_it_comes_and_not_kept_twice() -> None:
    codec = FrameCodec(1 << 20, None)
    codec.feed(b"\x82\xff" + (1 << 20).to_bytes(8, "big") + MASK)
    piece = bytes(1 << 16)
    for _ in range(16):
        while codec.next_event() is not None:
            pass
        codec.feed(masked(piece))
        assert len(codec._data) == len(piece)  # nothing but the latest
    assert codec.next_event() == Received(bytes(1 << 20), 1 << 20)
    assert codec.next_event() is None
    assert codec._data == b""


def test_text_that_is_none_is_refused_at_its_first_wrong_byte() -> None:
    codec = FrameCodec(1 << 20, None)
    codec.feed(b"\x81\xff" + (1 << 20).to_bytes(8, "big") + MASK + masked(b"abc\xff"))
    with pytest.raises(FrameError) as failure:
        codec.next_event()
    assert failure.value.code == 1007


def test_a_frame_that_announces_too_much_is_refused_before_its_payload() -> None:
    codec = FrameCodec(1000, None)
    codec.feed(b"\x82\xff" + (1 << 40).to_bytes(8, "big") + MASK)
    with pytest.raises(FrameError) as failure:
        codec.next_event()
    assert failure.value.code == 1009
