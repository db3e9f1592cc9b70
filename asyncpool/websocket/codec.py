"""The choice of what reads and writes frames. Both refuse the same, with the same close codes. Pure."""

from collections.abc import Mapping
from typing import Final

from hsrv.asyncpool.websocket.events import Codec, NewCodec
from hsrv.asyncpool.websocket.frames import FrameCodec
from hsrv.asyncpool.websocket.wsproto import WsprotoCodec

__all__ = ["CODECS", "Codec", "NewCodec", "choose_codec"]

CODECS: Final[Mapping[str, NewCodec]] = {"frames": FrameCodec, "wsproto": WsprotoCodec}
"""By the value of the option `ws`."""

_BEST: Final = "frames"


def choose_codec(name: str) -> NewCodec:
    """What makes the codec of that name; "auto" is the fastest. Raises KeyError."""
    return CODECS[_BEST if name == "auto" else name]
