"""Chunked bodies: RFC 9112 section 7.1, trailers: RFC 9110 section 6.5."""

from collections.abc import Iterator

from tests.conformance.case import Case, Seen, posted, refused, request, served, truncated
from tests.conformance.case import chunked as post

END = "0\r\n\r\n"
HELLO = "5\r\nhello\r\n"

GOOD = {
    # body as sent: what it is
    END: "",
    HELLO + END: "hello",
    "2\r\nhe\r\n3\r\nllo\r\n" + END: "hello",
    "a\r\n0123456789\r\n" + END: "0123456789",
    "A\r\n0123456789\r\n" + END: "0123456789",
    "005\r\nhello\r\n" + END: "hello",
    "0000000000000005\r\nhello\r\n" + END: "hello",
    HELLO + "000\r\n\r\n": "hello",
    "2\r\n\r\n\r\n" + END: "\r\n",
    "5\r\n0\r\n\r\n\r\n" + END: "0\r\n\r\n",
    "5;a\r\nhello\r\n" + END: "hello",
    "5;a=b\r\nhello\r\n" + END: "hello",
    "5;a=b;c;d=e\r\nhello\r\n" + END: "hello",
    '5;a="b c"\r\nhello\r\n' + END: "hello",
    '5;a="\\"\\\\;"\r\nhello\r\n' + END: "hello",
    "5 ; a = b\r\nhello\r\n" + END: "hello",
    "5\t;a\r\nhello\r\n" + END: "hello",
    HELLO + "0;last\r\n\r\n": "hello",
}
BAD_SIZES = {
    "none": "",
    "blank": " ",
    "no digit": "g",
    "hexadecimal prefix": "0x5",
    "plus": "+5",
    "minus": "-5",
    "minus zero": "-0",
    "underscore": "0_5",
    "fraction": "5.0",
    "blank before": " 5",
    "tab before": "\t5",
    "blank behind": "5 ",
    "tab behind": "5\t",
    "blank inside": "1 0",
    "comma": "5,5",
    "quotes": '"5"',
    "vertical tab": "5\x0b",
    "NUL": "5\0",
    "Latin-1": "\xb5",
    "17 digits": "0" * 16 + "5",
    "2^64+5": "10000000000000005",
    "2^128+5": "1" + "0" * 31 + "5",
    "300 zeros": "0" * 300 + "5",
    "extension without a name": "5;",
    "extension of a blank": "5; ",
    "two semicolons": "5;;a",
    "extension without a value": "5;a=",
    "extension without its name": "5;=b",
    "extension after a blank only": "5 a",
    "extension with an open quote": '5;a="b',
    "extension with more behind the quote": '5;a="b"c',
    "extension with a control": "5;a\x01",
    "extension with NUL": "5;a=\0",
    "extension with DEL in quotes": '5;a="\x7f"',
    "extension with Latin-1 name": "5;\xe9",
    "extension with a bare CR": "5;a\rb",
    "extension with a bare CR in quotes": '5;a="\r"',
    "extension with a bare LF": "5;a\nb",
    "extension with a bare LF in quotes": '5;a="\n"',
    "bare CR": "5\r",
    "longer than 512 bytes": "5;" + "a" * 511,
}
LARGE_SIZES = {
    "2^31": "80000000",
    "2^32": "100000000",
    "2^32+5": "100000005",
    "2^63": "8000000000000000",
    "2^64-1": "ffffffffffffffff",
    "2^64-5": "FFFFFFFFFFFFFFFB",
    "one more than the limit": "186a1",
}
BAD_BODIES = {
    "size by a bare LF": "5\nhello\r\n" + END,
    "size by a bare CR": "5\rhello\r\n" + END,
    "data ended by a bare LF": "5\r\nhello\n" + END,
    "data ended by a bare CR": "5\r\nhello\r" + END,
    "data ended by nothing": "5\r\nhello" + END,
    "data ended by LF CR": "5\r\nhello\n\r" + END,
    "data longer than its size": "4\r\nhello\r\n" + END,
    "data much longer than its size": "1\r\nhello hello\r\n" + END,
    "data shorter than its size": "6\r\nhello\r\n" + END,
    "data of two bytes too few": "7\r\nhello\r\n" + END,
    "last chunk by a bare LF": HELLO + "0\n\n",
    "end by a bare LF": HELLO + "0\r\n\n",
    "end by LF CR": HELLO + "0\r\n\n\r",
    "end by a bare CR": HELLO + "0\r\n\rx",
    "end missing": HELLO + "0\r\nX",
    "empty line between chunks": HELLO + "\r\n" + END,
    "one blank between chunks": HELLO + " " + END,
}
BAD_TRAILERS = {
    "Content-Length": "Content-Length: 5",
    "Transfer-Encoding": "Transfer-Encoding: chunked",
    "Host": "Host: b",
    "content-length in lower case": "content-length: 5",
    "no colon": "X-T",
    "blank before the colon": "X-T : a",
    "folded": "X-T: a\r\n b",
    "fold first": " X-T: a",
    "NUL": "X-T: a\0",
    "control": "X-T: a\x01",
    "DEL": "X-T: a\x7f",
    "bare CR": "X-T: a\rb",
    "bare LF": "X-T: a\nX-U: b",
    "bare LF at the end": "X-T: a\n",
    "empty name": ": a",
    "name with a control": "X\x01: a",
    "a request line": "GET /x HTTP/1.1",
    "larger than 16 KiB": "X-T: " + "a" * 16400,
}
TRAILERS = {
    "one": "X-T: a",
    "empty value": "X-T:",
    "three": "X-T: a\r\nX-U: b\r\nX-T: c",
    "checksum": "Digest: sha-256=x",
    "Latin-1": "X-T: \xe9",
    "Authorization": "Authorization: Basic eDp5",
    "Content-Type": "Content-Type: text/x",
    "Cookie": "Cookie: a=b",
}


def _cases() -> Iterator[Case]:
    for body, content in GOOD.items():
        yield served(f"chunks {body!r}", "9112 7.1", post(body), posted(content))
    for name, size in BAD_SIZES.items():
        yield refused(f"size: {name}", "9112 7.1", post(f"{size}\r\nhello\r\n" + END))
    for name, size in LARGE_SIZES.items():
        yield refused(f"size {name}", "9112 7.1, 9110 15.5.14", post(f"{size}\r\nhello\r\n" + END), 413)
    for name, body in BAD_BODIES.items():
        yield refused(name, "9112 7.1", post(body))
    for name, lines in TRAILERS.items():
        field = lines.partition(":")[0].lower()
        yield served(
            f"trailer: {name}",
            "9110 6.5.1",
            post(f"{HELLO}0\r\n{lines}\r\n\r\n"),
            posted("hello", headers={field: None}),
        )
    for name, lines in BAD_TRAILERS.items():
        yield refused(f"trailer: {name}", "9110 6.5.1, 9112 7.1.2", post(f"{HELLO}0\r\n{lines}\r\n\r\n"))
    yield refused("many extensions", "9112 7.1.1", post(("1;" + "a" * 400 + "\r\nx\r\n") * 50 + END))
    yield refused("many trailers", "9110 6.5.1", post(HELLO + "0\r\n" + "X-Trailer: a\r\n" * 2000 + "\r\n"))
    yield served("many chunks", "9112 7.1", post("1\r\nx\r\n" * 2000 + END), posted("x" * 2000))
    yield refused(
        "more than the limit in small chunks",
        "9110 15.5.14",
        post(("2710\r\n" + "x" * 10_000 + "\r\n") * 4 + "ffff\r\n"),
        413,
    )
    for name, body in [
        ("in a size", "5"),
        ("after a size", "5\r\n"),
        ("in data", "5\r\nhel"),
        ("after data", "5\r\nhello"),
        ("before the last chunk", HELLO),
        ("in the last chunk", HELLO + "0"),
        ("before the end", HELLO + "0\r\n"),
        ("in the end", HELLO + "0\r\n\r"),
        ("in a trailer", HELLO + "0\r\nX-T: a"),
        ("after a trailer", HELLO + "0\r\nX-T: a\r\n"),
    ]:
        yield truncated(f"cut {name}", "9112 8", post(body))
    yield served(
        "Trailer is only a field",
        "9110 6.6.2",
        post(HELLO + END, "Trailer: X-T"),
        posted("hello", headers={"trailer": "X-T"}),
    )
    yield served(
        "TE is only a field",
        "9110 10.1.4",
        request("TE: trailers", "Connection: TE"),
        Seen(headers={"te": "trailers"}),
    )


CASES = tuple(_cases())
