"""A WSGI application for tests: /PLACE/WHAT does what is named; what obeys PEP 3333 in wsgiref's validator."""

import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], object]]

TEXT = [("Content-Type", "text/plain")]
marked: ContextVar[str] = ContextVar("marked", default="nowhere")


def note(*words: object) -> None:
    """One line of the file named by RECORD."""
    fd = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (" ".join(map(str, words)) + "\n").encode())
    os.close(fd)


class Closing:
    """An iterable that notes that it was closed."""

    def __init__(self, blocks: Iterable[bytes], key: str, *, raises: bool = False) -> None:
        self._blocks = iter(blocks)
        self._key = key
        self._raises = raises

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._blocks)

    def close(self) -> None:
        if isinstance(self._blocks, Generator):
            self._blocks.close()
        note("closed", self._key)
        if self._raises:
            raise OSError("in close")


def seen(environ: Environ, start: Start) -> Iterable[bytes]:
    """The environ, but for what JSON has no form for."""
    found = {name: value for name, value in environ.items() if isinstance(value, str | bool | int | dict)}
    body = json.dumps({**found, "input": environ["wsgi.input"].read(-1).decode("latin-1")}).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def lines(environ: Environ, start: Start) -> Iterable[bytes]:
    """Every way of reading the body."""
    source = environ["wsgi.input"]
    read = [source.readline(), source.read(3), *source.readlines(), source.read(5), source.readline()]
    start("200 OK", TEXT)
    return [repr(read).encode()]


def several(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return [b"hel", b"lo"]


def parts(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return Closing([b"", b"hel", b"", b"lo"], key(environ))


def late(environ: Environ, start: Start) -> Iterable[bytes]:
    """start_response is called when the iterable is first asked."""

    def blocks() -> Iterator[bytes]:
        start("200 OK", TEXT)
        yield b"late"

    return blocks()


def nothing(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return Closing([], key(environ))


def length(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "5")])
    return Closing([b"hel", b"lo"], key(environ))


def too_long(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "5")])
    return Closing([b"hello", b" and more"], key(environ))


def too_long_at_once(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "4")])
    return [b"hello"]


def too_short(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "6")])
    return Closing([b"hello"], key(environ))


def empty_status(environ: Environ, start: Start) -> Iterable[bytes]:
    start(environ["QUERY_STRING"] + " Nothing", [("X-A", "b")])
    return Closing([], key(environ))


def body_status(environ: Environ, start: Start) -> Iterable[bytes]:
    """A body where there may be none."""
    start(environ["QUERY_STRING"] + " Nothing", [("X-A", "b")])
    return Closing([b"hel", b"lo"], key(environ))


def writes(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", TEXT)
    write(b"hel")
    write(b"lo ")
    return [b"world"]


def writes_much(environ: Environ, start: Start) -> Iterable[bytes]:
    write = start("200 OK", TEXT)
    for _ in range(64):
        write(b"x" * 65536)
    return [b""]


def replaced(environ: Environ, start: Start) -> Iterable[bytes]:
    """An error before anything was sent replaces the headers."""
    start("200 OK", [*TEXT, ("X-First", "1")])
    try:
        raise KeyError("early")
    except KeyError:
        start("500 Broken", [*TEXT, ("X-Second", "2")], sys.exc_info())
    return [b"sorry"]


def reraised(environ: Environ, start: Start) -> Iterable[bytes]:
    """After something was sent it is raised again."""
    start("200 OK", TEXT)

    def blocks() -> Iterator[bytes]:
        yield b"hello"
        try:
            raise KeyError("late")
        except KeyError:
            start("500 Broken", TEXT, sys.exc_info())
        note("not reached")

    return Closing(blocks(), key(environ))


def cookies(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Latin", "caf\xe9")])
    return [b"ok"]


def context(environ: Environ, start: Start) -> Iterable[bytes]:
    """What the call sets is seen by what it returns, wherever that runs; a token is of one context."""
    before = marked.get()
    token = marked.set(key(environ))
    start("200 OK", [("Content-Type", "text/event-stream")])

    def blocks() -> Iterator[bytes]:
        for _ in range(3):
            yield f"data: {before} {marked.get()}\n\n".encode()
            time.sleep(0.01)
        marked.reset(token)
        yield b"data: reset\n\n"

    return Closing(blocks(), key(environ))


def endless(environ: Environ, start: Start) -> Iterable[bytes]:
    """Until its client leaves."""
    start("200 OK", [("Content-Type", "text/event-stream")])

    def blocks() -> Iterator[bytes]:
        try:
            while True:
                yield b"data: tick\n\n"
                time.sleep(0.02)
        finally:
            note("finally", key(environ), marked.get())

    marked.set("here")
    return Closing(blocks(), key(environ))


def flood(environ: Environ, start: Start) -> Iterable[bytes]:
    """More than a client reads."""
    start("200 OK", [("Content-Type", "application/octet-stream")])

    def blocks() -> Iterator[bytes]:
        sent = 0
        try:
            while True:
                yield b"x" * 65536
                sent += 65536
                note("sent", key(environ), sent)
        finally:
            note("finally", key(environ))

    return Closing(blocks(), key(environ))


def hint(environ: Environ, start: Start) -> Iterable[bytes]:
    environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload"), ("X-Other", "no link")])
    start("200 OK", TEXT)
    return [b"hinted"]


GOOD: dict[str, Callable[[Environ, Start], Iterable[bytes]]] = {
    name: found
    for name, found in list(globals().items())
    if getattr(found, "__annotations__", {}).get("start")
}


# what breaks the rules, and what the validator has no wrapper for


def again(environ: Environ, start: Start) -> Iterable[bytes]:
    """It can be read twice, and says where it is kept."""
    source = environ["wsgi.input"]
    first, _ = source.read(), source.seek(0)
    start("200 OK", [*TEXT, ("X-Kind", type(source).__name__)])
    return [str(len(first)).encode(), b" ", str(first == source.read()).encode()]


def listed(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return [b"hel", b"", b"lo"]


def file(environ: Environ, start: Start) -> Iterable[bytes]:
    found = Path(__file__).open("rb")  # noqa: SIM115  # the server closes it  # the server closes it
    found.seek(10)
    start("200 OK", TEXT)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](found)
    return wrapped


def file_part(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [*TEXT, ("Content-Length", "5")])
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](Path(__file__).open("rb"), 1024)  # noqa: SIM115  # the server closes it
    return wrapped


def file_like(environ: Environ, start: Start) -> Iterable[bytes]:
    """No file of the system is behind it."""
    blocks = iter([b"in ", b"memory", b""])

    class Filelike:
        def read(self, size: int) -> bytes:
            return next(blocks)

        def close(self) -> None:
            note("closed", key(environ))

    start("200 OK", TEXT)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](Filelike(), 4)
    return wrapped


def raises(environ: Environ, start: Start) -> Iterable[bytes]:
    raise LookupError("at once")


def raises_started(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    raise LookupError("once started")


def raises_first(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return Closing((b"%d" % (1 // 0) for _ in "x"), key(environ))


def raises_amid(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)

    def blocks() -> Iterator[bytes]:
        yield b"hello"
        raise LookupError("amid")

    return Closing(blocks(), key(environ))


def raises_close(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    return Closing([b"hello"], key(environ), raises=True)


def exits(environ: Environ, start: Start) -> Iterable[bytes]:
    sys.exit("for one request")


def no_start(environ: Environ, start: Start) -> Iterable[bytes]:
    return [b"hello"]


def start_twice(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", TEXT)
    start("200 OK", TEXT)
    return [b"hello"]


def text_body(environ: Environ, start: Start) -> Iterable[Any]:
    start("200 OK", TEXT)
    return ["hello"]


def text_block(environ: Environ, start: Start) -> Iterable[Any]:
    start("200 OK", TEXT)
    return iter(["hello"])


def none(environ: Environ, start: Start) -> Any:
    start("200 OK", TEXT)


def hop(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [(environ["QUERY_STRING"], "x")])
    return [b"hello"]


def status(environ: Environ, start: Start) -> Iterable[bytes]:
    start(environ["QUERY_STRING"].replace("%20", " "), TEXT)
    return [b"hello"]


def injected(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("X-A", "b\r\nSet-Cookie: c=d")])
    return [b"hello"]


def wide(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [("X-A", "\u20ac")])
    return [b"hello"]


def bytes_header(environ: Environ, start: Start) -> Iterable[bytes]:
    start("200 OK", [(b"X-A", b"b")])
    return [b"hello"]


BAD: dict[str, Callable[[Environ, Start], Any]] = {
    name: found
    for name, found in list(globals().items())
    if getattr(found, "__annotations__", {}).get("start") and name not in GOOD
}


def key(environ: Environ) -> str:
    found: str = environ["PATH_INFO"]
    return found


def unchecked(environ: Environ, start: Start) -> Any:
    name = environ["PATH_INFO"].split("/")[2]
    return (GOOD | BAD)[name](environ, start)


checked = validator(unchecked)


def app(environ: Environ, start_response: Start) -> Any:
    note("called", environ["PATH_INFO"])
    name = environ["PATH_INFO"].split("/")[2]
    return (unchecked if name in BAD else checked)(environ, start_response)
