"""Request lines: RFC 9112 sections 2.2, 2.3 and 3; methods: RFC 9110 section 9."""

from collections.abc import Iterator

from tests.conformance.case import GET, Case, P, Seen, posted, refused, request, served

HOST = "Host: a\r\n\r\n"

METHODS = [
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "M-SEARCH",
    "get",
    "!#$%&'*+-.^_`|~09aZ",
]
NO_METHODS = {
    "parenthesis": "G(T",
    "quotes": '"GET"',
    "braces": "{GET}",
    "at": "G@T",
    "colon": "GET:",
    "slash": "GE/T",
    "comma": "GET,",
    "NUL": "GE\0T",
    "DEL": "GE\x7fT",
    "Latin-1": "G\xcbT",
    "bare CR": "GE\rT",
    "bare LF": "GE\nT",
}
VERSIONS = ["0.9", "0.0", "1.2", "1.9", "2.0", "3.0", "9.9"]
NO_VERSIONS = {
    "one digit": "HTTP/1",
    "no minor": "HTTP/1.",
    "no dot": "HTTP/11",
    "long minor": "HTTP/1.10",
    "leading zero": "HTTP/01.1",
    "lower case": "http/1.1",
    "mixed case": "Http/1.1",
    "comma": "HTTP/1,1",
    "plus": "HTTP/+1.1",
    "letter": "HTTP/1.x",
    "rest": "HTTP/1.1x",
    "blank inside": "HTTP /1.1",
    "blank before the number": "HTTP/ 1.1",
    "blank behind": "HTTP/1.1 ",
    "tab behind": "HTTP/1.1\t",
    "other protocol": "HTTPS/1.1",
    "ICY": "ICY/1.1",
    "RTSP": "RTSP/1.0",
    "superscript": "HTTP/1.\xb9",
    "NUL behind": "HTTP/1.1\0",
    "CR behind": "HTTP/1.1\r",
}
LINES = {
    "two blanks": f"GET  {P} HTTP/1.1",
    "two blanks before the version": f"GET {P}  HTTP/1.1",
    "tab": f"GET\t{P} HTTP/1.1",
    "tab before the version": f"GET {P}\tHTTP/1.1",
    "vertical tab": f"GET\x0b{P} HTTP/1.1",
    "form feed": f"GET\x0c{P} HTTP/1.1",
    "CR as separator": f"GET\r{P} HTTP/1.1",
    "no-break space": f"GET\xa0{P} HTTP/1.1",
    "leading blank": f" GET {P} HTTP/1.1",
    "leading tab": f"\tGET {P} HTTP/1.1",
    "leading CR": f"\rGET {P} HTTP/1.1",
    "leading NUL": f"\0GET {P} HTTP/1.1",
    "leading byte order mark": f"\xef\xbb\xbfGET {P} HTTP/1.1",
    "no method": f" {P} HTTP/1.1",
    "no target": "GET HTTP/1.1",
    "empty target": "GET  HTTP/1.1",
    "no version": f"GET {P}",
    "two words too many": f"GET {P} x HTTP/1.1",
    "two lines in one": f"GET {P} HTTP/1.1 GET {P} HTTP/1.1",
    "only a word": "GET",
    "PROXY protocol": f"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET {P} HTTP/1.1",
    "Redis": "*1\r\n$4\r\nPING",
    "SSH": "SSH-2.0-OpenSSH_9.7",
    "status line": "HTTP/1.1 200 OK",
}


def _cases() -> Iterator[Case]:
    for method in METHODS:
        yield served(f"method {method}", "9110 9.1", request(method=method), Seen(method=method))
    yield served("method HEAD", "9110 9.3.2", request(method="HEAD"), Seen(method="HEAD"))
    for name, method in NO_METHODS.items():
        yield refused(f"method with {name}", "9110 9.1, 5.6.2", request(method=method))
    for version in VERSIONS:
        yield refused(f"version {version}", "9110 2.5, 15.6.6", request(version=version), 505)
    for name, version in NO_VERSIONS.items():
        yield refused(f"version: {name}", "9112 2.3", f"GET {P} {version}\r\n{HOST}")
    for name, line in LINES.items():
        yield refused(f"line: {name}", "9112 3", f"{line}\r\n{HOST}")
    yield refused("HTTP/2 preface", "9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
    yield refused("HTTP/0.9 request", "9112 2.3", f"GET {P}\r\n")
    yield refused("TLS hello", "9112 3", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    yield served(
        "HTTP/1.0", "9112 2.3", request("Connection: keep-alive", version="1.0"), Seen(version="1.0")
    )
    for number in (1, 2, 8):
        yield served(f"{number} empty lines first", "9112 2.2", "\r\n" * number + request(), GET)
    yield refused("9 empty lines first", "9112 2.2", "\r\n" * 9 + request())
    yield refused("empty line by a bare LF first", "9112 2.2", "\n" + request())
    yield refused("CR behind an empty line", "9112 2.2", "\r\n\r" + request())
    yield refused("CR CR LF first", "9112 2.2", "\r\r\n" + request())
    yield served(
        "empty line after a POST",
        "9112 2.2",
        request("Content-Length: 1", method="POST", body="x\r\n"),
        posted("x"),
    )
    yield refused("line by a bare LF", "9112 2.2", f"GET {P} HTTP/1.1\nHost: a\r\n\r\n")


CASES = tuple(_cases())
