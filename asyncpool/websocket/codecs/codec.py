"""The choice of what reads and writes frames. Both refuse the same, with the same close codes. Pure."""

from typing import Final

from hsrv.asyncpool.websocket.codecs.events import Codec, NewCodec
from hsrv.asyncpool.websocket.codecs.frames import FrameCodec

__all__ = ["CODECS", "Codec", "NewCodec", "choose_codec"]

CODECS: Final = ("frames", "wsproto")
"""Values of the option `ws`."""

_BEST: Final = "frames"


def choose_codec(name: str) -> NewCodec:
    """What makes the codec of that name; "auto" is the fastest. Raises KeyError."""
    if name == "wsproto":
        from hsrv.asyncpool.websocket.codecs.wsproto import WsprotoCodec  # noqa: PLC0415  # most servers have no use for it

        return WsprotoCodec
    return {"frames": FrameCodec}[_BEST if name == "auto" else name]
