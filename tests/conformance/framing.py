"""The length of a request's body: RFC 9112 section 6, RFC 9110 section 8.6."""

from collections.abc import Iterator

from tests.conformance.case import GET, Case, Seen, chunked, post, posted, refused, request, served, truncated

BAD_LENGTHS = {
    "plus": "+5",
    "minus": "-5",
    "minus zero": "-0",
    "hexadecimal": "0x5",
    "hexadecimal digits": "a",
    "octal": "0o5",
    "underscore": "1_0",
    "fraction": "5.0",
    "exponent": "5e0",
    "words": "five",
    "empty": "",
    "blank inside": "1 0",
    "tab inside": "1\t0",
    "list of the same": "5, 5",
    "list of two": "5, 6",
    "list with an empty member": "5,",
    "semicolon": "5;x",
    "quotes": '"5"',
    "superscript": "\xb2",
    "Arabic digit in UTF-8": "\xd9\xa5",
    "vertical tab before": "\x0b5",
    "form feed behind": "5\x0c",
    "NUL behind": "5\0",
    "comment": "5 (five)",
}
CODINGS = {
    # value: status
    "gzip": 501,
    "gzip, chunked": 501,
    "deflate": 501,
    "identity": 501,
    "x-custom": 501,
    "xchunked": 501,
    "chunkedx": 501,
    "chunk": 501,
    "chunked, chunked": 400,
    "chunked, gzip": 400,
    "chunked, identity": 400,
    "chunked,": 400,
    ",chunked": 400,
    ", chunked": 400,
    "": 400,
    ",": 400,
    "chunked;q=1": 400,
    "chunked;": 400,
    '"chunked"': 400,
    "'chunked'": 501,
    "chunked chunked": 400,
    "chunked identity": 400,
    "chun\tked": 400,
    "\x0bchunked": 400,
    "\x0cchunked": 400,
    "chunked\x0b": 400,
    "chunked\0": 400,
    "\xa0chunked": 400,
    "chunked\x85": 400,
    "\xe7hunked": 400,
    "[chunked]": 400,
    "gzip;q=1, chunked": 400,
}


def _cases() -> Iterator[Case]:
    yield served("no body", "9112 6.3", post(), posted())
    yield served("length 0", "9112 6.3", post("Content-Length: 0"), posted())
    yield served("length", "9112 6.2", post("Content-Length: 5", body="hello"), posted("hello"))
    yield served(
        "length with leading zeros", "9110 8.6", post("Content-Length: 005", body="hello"), posted("hello")
    )
    yield served(
        "length with blanks", "9110 5.5", post("Content-Length:\t 5 ", body="hello"), posted("hello")
    )
    yield served(
        "length of 18 digits",
        "9110 8.6",
        post("Content-Length: " + "5".zfill(18), body="hello"),
        posted("hello"),
    )
    yield refused(
        "length of 19 digits", "9110 8.6", post("Content-Length: " + "5".zfill(19), body="hello"), 400, 413
    )
    yield served(
        "GET with a body", "9110 9.3.1", request("Content-Length: 5", body="hello"), Seen(body="hello")
    )
    yield served(
        "binary body", "9112 6.2", post("Content-Length: 5", body="\0\r\n\xff\n"), posted("\0\r\n\xff\n")
    )
    yield served(
        "body that begins the next head", "9112 6.3", post("Content-Length: 2", body="\r\n"), posted("\r\n")
    )
    for name, value in BAD_LENGTHS.items():
        yield refused(f"length: {name}", "9112 6.3, 9110 8.6", post(f"Content-Length: {value}", body="hello"))
    for name, second in [
        ("the same", "5"),
        ("another", "6"),
        ("leading zero", "05"),
        ("empty", ""),
        ("zero", "0"),
    ]:
        yield refused(
            f"length twice: {name}",
            "9112 6.3",
            post("Content-Length: 5", f"Content-Length: {second}", body="hello"),
        )
    yield refused(
        "length twice, other case, apart",
        "9112 6.3",
        post("Content-Length: 5", "X: y", "CONTENT-LENGTH: 5", body="hello"),
    )
    yield refused(
        "length with a blank before the colon", "9112 5.1", post("Content-Length : 5", body="hello")
    )
    yield refused("negative length of HTTP/1.0", "9112 6.3", post("Content-Length: -5", version="1.0"))
    for name, number in [
        ("2^31", 2**31),
        ("2^32+5", 2**32 + 5),
        ("2^63", 2**63),
        ("2^64+5", 2**64 + 5),
        ("10^100", 10**100),
    ]:
        yield refused(
            f"length {name}", "9110 8.6, 15.5.14", post(f"Content-Length: {number}", body="hello"), 413
        )
    yield served("chunked", "9112 7.1", chunked("5\r\nhello\r\n0\r\n\r\n"), posted("hello"))
    for value in ("Chunked", "CHUNKED", "\tchunked\t ", "chunked  "):
        yield served(
            f"coding {value!r}",
            "9112 7",
            post(f"Transfer-Encoding: {value}", body="5\r\nhello\r\n0\r\n\r\n"),
            posted("hello"),
        )
    yield served("chunked GET", "9110 9.3.1", request("Transfer-Encoding: chunked", body="0\r\n\r\n"), GET)
    for value, status in CODINGS.items():
        yield refused(
            f"coding {value!r}",
            "9112 6.1, 7",
            post(f"Transfer-Encoding: {value}", body="5\r\nhello\r\n0\r\n\r\n"),
            status,
        )
    for first, second in [
        ("chunked", "chunked"),
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("gzip", "chunked"),
        ("", "chunked"),
    ]:
        yield refused(
            f"coding {first!r} and {second!r}",
            "9112 6.1",
            post(f"Transfer-Encoding: {first}", f"Transfer-Encoding: {second}", body="0\r\n\r\n"),
            400,
            501,
        )
    yield refused(
        "coding with a blank before the colon",
        "9112 5.1",
        post("Transfer-Encoding : chunked", body="0\r\n\r\n"),
    )
    yield refused("folded coding", "9112 5.2", post("Transfer-Encoding:\r\n chunked", body="0\r\n\r\n"))
    yield refused(
        "chunked in HTTP/1.0", "9112 6.1", post("Transfer-Encoding: chunked", version="1.0", body="0\r\n\r\n")
    )
    for lines in (
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 0"],
    ):
        yield refused(f"both, {lines[0]} first", "9112 6.3", post(*lines, body="0\r\n\r\n"))
    yield refused(
        "both, unknown coding",
        "9112 6.3",
        post("Transfer-Encoding: gzip", "Content-Length: 5", body="hello"),
        400,
        501,
    )
    yield refused(
        "both in HTTP/1.0", "9112 6.3", post("Transfer-Encoding: chunked", "Content-Length: 5", version="1.0")
    )
    yield truncated("body cut", "9112 8", post("Content-Length: 10", body="hello"))
    yield truncated("no body at all", "9112 8", post("Content-Length: 10"))
    yield truncated("head cut", "9112 8", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Le")
    yield truncated("request line cut", "9112 8", "GET /x HTT")
    yield truncated("head without its empty line", "9112 8", "GET /x HTTP/1.1\r\nHost: a\r\n")


CASES = tuple(_cases())
