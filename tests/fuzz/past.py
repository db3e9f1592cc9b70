"""Inputs that once failed, by target. Tried first, every time."""

from typing import Any, Final

from hsrv.asyncpool.websocket.codecs.deflate import DeflateTerms

HEADS: Final[list[Any]] = []
BODIES: Final[list[Any]] = []
PACKETS: Final[list[Any]] = [
    b"\x82\xa4type\xa4quit\xa1z" + b"\x91" * 5000 + b"\xc0",  # RecursionError
]
LINES: Final[list[Any]] = []
RESPONSES: Final[list[Any]] = [
    ("GET", "1.1", True, [{"type": "http.response.start", "status": 200, "headers": None}]),  # TypeError
    ("GET", "1.1", True, [{"type": "http.response.early_hint", "links": 5}]),  # TypeError
]
FRAMES: Final[list[Any]] = [
    # wrong in two ways: a new message amid another, and compressed data that is none
    (bytes.fromhex("018005060708c182050607080506"), [13], DeflateTerms(), 300),
]
