"""Request smuggling: RFC 9112 sections 11.1 and 11.2. Every row hides a request that the application must not see.

A row whose outer request is legal says what becomes of the canary: content of the body, or a request in its own right.
"""

from collections.abc import Iterator

from tests.conformance.case import (
    CANARY,
    GET,
    After,
    Answer,
    Case,
    P,
    Seen,
    chunked,
    post,
    posted,
    refused,
    request,
    served,
    truncated,
)

END = "0\r\n\r\n"
CL = "Content-Length"
TE = "Transfer-Encoding"
RFC = "9112 11.2, 6.3"
ITSELF = Seen(path=f"{P}/canary", headers={"host": "canary"}, only=frozenset({"host"}))
"""The canary as a request in its own right."""

SIZE = f"{len(CANARY):x}"
CHUNKED_CANARY = f"{SIZE}\r\n{CANARY}\r\n{END}"

# Content-Length and Transfer-Encoding in one head, whoever believes whichever
BOTH = {
    "CL.TE": ([f"{CL}: {len(END + CANARY)}", f"{TE}: chunked"], END + CANARY),
    "TE.CL": ([f"{TE}: chunked", f"{CL}: 4"], CHUNKED_CANARY),
    "CL.0 and TE": ([f"{CL}: 0", f"{TE}: chunked"], CHUNKED_CANARY),
    "TE, CL.0": ([f"{TE}: chunked", f"{CL}: 0"], END + CANARY),
    "CL.TE in HTTP/1.0": ([f"{CL}: {len(END)}", f"{TE}: chunked"], END + CANARY),
    "CL.TE in odd case": ([f"cOnTeNt-LeNgTh: {len(END)}", "tRANSFER-eNCODING: cHUNKED"], END + CANARY),
    "CL.TE, many fields between": (
        [f"{CL}: {len(END)}", *[f"X-{n}: a" for n in range(40)], f"{TE}: chunked"],
        END + CANARY,
    ),
    "two CL and TE": ([f"{CL}: 0", f"{CL}: {len(END)}", f"{TE}: chunked"], END + CANARY),
    "CL and two TE": ([f"{CL}: {len(END)}", f"{TE}: chunked", f"{TE}: chunked"], END + CANARY),
    "TE in Connection": ([f"Connection: {TE}", f"{CL}: {len(END)}", f"{TE}: chunked"], END + CANARY),
    "CL in Connection": ([f"Connection: {CL}", f"{CL}: {len(END)}", f"{TE}: chunked"], END + CANARY),
}

# TE.TE: a Transfer-Encoding that one of two parsers doesn't recognise, beside a length
OBFUSCATED = {
    "blank before the colon": f"{TE} : chunked",
    "tab before the colon": f"{TE}\t: chunked",
    "leading blank": f" {TE}: chunked",
    "leading tab": f"\t{TE}: chunked",
    "folded": f"{TE}:\r\n chunked",
    "folded by a tab": f"{TE}:\r\n\tchunked",
    "folded behind": f"{TE}: chunked\r\n x",
    "behind another field, folded": f"X: a\r\n {TE}: chunked",
    "vertical tab": f"{TE}: \x0bchunked",
    "form feed": f"{TE}: \x0cchunked",
    "vertical tab behind": f"{TE}: chunked\x0b",
    "NUL before": f"{TE}: \0chunked",
    "NUL behind": f"{TE}: chunked\0",
    "NUL in the name": "Transfer\0-Encoding: chunked",
    "no-break space": f"{TE}: \xa0chunked",
    "next line": f"{TE}: \x85chunked",
    "DEL": f"{TE}: chunked\x7f",
    "backspace": f"{TE}: x\x08chunked",
    "quotes": f'{TE}: "chunked"',
    "apostrophes": f"{TE}: 'chunked'",
    "brackets": f"{TE}: [chunked]",
    "x before": f"{TE}: xchunked",
    "x behind": f"{TE}: chunkedx",
    "semicolon": f"{TE}: chunked;",
    "parameter": f"{TE}: chunked;x=y",
    "comma": f"{TE}: chunked,",
    "comma before": f"{TE}: ,chunked",
    "identity": f"{TE}: identity",
    "identity, chunked": f"{TE}: identity, chunked",
    "chunked, identity": f"{TE}: chunked, identity",
    "chunked, chunked": f"{TE}: chunked, chunked",
    "chunked chunked": f"{TE}: chunked chunked",
    "cow": f"{TE}: cow",
    "gzip, chunked": f"{TE}: gzip, chunked",
    "colon twice": f"{TE}:: chunked",
    "colon in the value": f"{TE}: : chunked",
    "two fields, identity last": f"{TE}: chunked\r\n{TE}: identity",
    "two fields, identity first": f"{TE}: identity\r\n{TE}: chunked",
    "two fields, one empty": f"{TE}:\r\n{TE}: chunked",
    "two fields, one folded": f"{TE}: x\r\n{TE}:\r\n chunked",
    "bare LF before": f"X: a\n{TE}: chunked",
    "bare CR before": f"X: a\r{TE}: chunked",
    "bare LF behind": f"{TE}: chunked\nX: a",
    "bare CR behind": f"{TE}: chunked\rX: a",
    "LF between name and value": f"{TE}:\nchunked",
    "quoted name": f'"{TE}": chunked',
    "long s": f"{TE}: \xc5\xbfchunked",
    "Kelvin sign": f"{TE}: chun\xe2\x84\xaaed",
    "equals": f"{TE}=chunked",
}

# names that are not Transfer-Encoding but that somebody may take for it; the length counts
ALIKE = {
    "underscore": "Transfer_Encoding: chunked",
    "no dash": "TransferEncoding: chunked",
    "two dashes": "Transfer--Encoding: chunked",
    "prefix": "X-Transfer-Encoding: chunked",
    "suffix": "Transfer-Encoding-X: chunked",
    "TE": "TE: chunked",
    "Content-Encoding": "Content-Encoding: chunked",
    "in a value": "X-A: Transfer-Encoding: chunked",
}

LENGTHS = {
    "two, small first": [f"{CL}: 0", f"{CL}: {len(CANARY)}"],
    "two, small last": [f"{CL}: {len(CANARY)}", f"{CL}: 0"],
    "two the same": [f"{CL}: 0", f"{CL}: 0"],
    "two, odd case": [f"{CL}: 0", f"content-length: {len(CANARY)}"],
    "list": [f"{CL}: 0, {len(CANARY)}"],
    "list of the same": [f"{CL}: 0, 0"],
    "plus": [f"{CL}: +0"],
    "minus": [f"{CL}: -0"],
    "hexadecimal": [f"{CL}: 0x{SIZE}"],
    "underscore": [f"{CL}: 0_0"],
    "fraction": [f"{CL}: 0.0"],
    "blank inside": [f"{CL}: 0 {len(CANARY)}"],
    "tab inside": [f"{CL}: 0\t{len(CANARY)}"],
    "vertical tab": [f"{CL}: \x0b0"],
    "NUL": [f"{CL}: 0\0{len(CANARY)}"],
    "Latin-1 digit": [f"{CL}: \xb9"],
    "quotes": [f'{CL}: "0"'],
    "empty": [f"{CL}:"],
    "blank before the colon": [f"{CL} : 0"],
    "leading blank": ["X: a", f" {CL}: 0"],
    "folded": [f"{CL}:\r\n 0"],
    "fold that adds digits": [f"{CL}: 1\r\n 0"],
    "bare LF before": [f"X: a\n{CL}: 0"],
    "bare CR before": [f"X: a\r{CL}: 0"],
    "semicolon": [f"{CL}: 0;{len(CANARY)}"],
}

# chunk sizes that overflow, or that one parser reads where another stops
SIZES = {
    "2^64": "10000000000000000",
    "2^64+5": "10000000000000005",
    "2^64+5 with zeros": "00010000000000000005",
    "2^65+5": "20000000000000005",
    "2^128+5": "100000000000000000000000000000005",
    "-1 in 64 bits": "ffffffffffffffff",
    "-5 in 64 bits": "fffffffffffffffb",
    "2^63+5": "8000000000000005",
    "2^32+5": "100000005",
    "2^31+5": "80000005",
    "prefix": "0x5",
    "minus": "-5",
    "plus": "+5",
    "underscore": "0_5",
    "blank before": " 5",
    "blank behind": "5 ",
    "blank and more": "5 5",
    "tab and more": "5\t5",
    "vertical tab": "5\x0b",
    "NUL": "5\0",
    "letters behind": "5g",
    "comma": "5,0",
    "fraction": "5.0",
    "exponent": "5e+1",
    "Latin-1": "5\xa0",
    "nothing": "",
    "zeros": "0" * 17 + "5",
}

# lines of a chunked body that end in two ways; the canary begins where the second one ends
ENDS = {
    "bare LF in an extension": f"5;\n{CANARY}",
    "bare LF in a named extension": f"5;a\n{CANARY}",
    "bare LF in an extension's value": f"5;a=b\n{CANARY}",
    "bare LF in a quoted extension": f'5;a="\n{CANARY}"\r\nhello\r\n{END}',
    "bare CR in an extension": f"5;a\r{CANARY}",
    "bare CR in a quoted extension": f'5;a="\r{CANARY}',
    "bare LF behind the size": f"5\nhello\r\n{END}{CANARY}",
    "bare CR behind the size": f"5\rhello\r\n{END}{CANARY}",
    "bare LF behind the data": f"5\r\nhello\n{END}{CANARY}",
    "bare CR behind the data": f"5\r\nhello\r{END}{CANARY}",
    "two bytes of any kind behind the data": f"5\r\nhelloXX{END}{CANARY}",
    "nothing behind the data": f"5\r\nhello{END}{CANARY}",
    "last chunk by bare LF": f"5\r\nhello\r\n0\n\n{CANARY}",
    "last chunk by LF CR LF": f"5\r\nhello\r\n0\n\r\n{CANARY}",
    "last line by bare LF": f"5\r\nhello\r\n0\r\n\n{CANARY}",
    "last line by bare CR": f"5\r\nhello\r\n0\r\n\r{CANARY}",
    "last chunk with an extension by bare LF": f"0;a\n\r\n{CANARY}",
    "data longer than its size": f"1\r\nhello\r\n{END}{CANARY}",
    "two bytes more than its size": f"3\r\nhello{END}{CANARY}",
    "trailer by bare LF": f"0\r\nX: a\n\r\n{CANARY}",
    "trailers by bare LF": f"0\r\nX: a\n\n{CANARY}",
    "canary as trailers": f"0\r\n{CANARY}",
    "length as a trailer": f"0\r\n{CL}: {len(CANARY)}\r\n\r\n{CANARY}",
    "coding as a trailer": f"0\r\n{TE}: chunked\r\n\r\n{CANARY}",
    "host as a trailer": f"0\r\nHost: b\r\n\r\n{CANARY}",
    "folded trailer": f"0\r\nX: a\r\n b\r\n\r\n{CANARY}",
    "blank line of a blank": f"0\r\n \r\n{CANARY}",
}

# heads that end, or hide a field, for one of two parsers
HEADS = {
    "two bare LF": f"GET {P} HTTP/1.1\r\nHost: a\n\n{CANARY}",
    "all lines by bare LF": f"GET {P} HTTP/1.1\nHost: a\n\n{CANARY}",
    "CR LF LF": f"GET {P} HTTP/1.1\r\nHost: a\r\n\n{CANARY}",
    "LF CR LF": f"GET {P} HTTP/1.1\r\nHost: a\n\r\n{CANARY}",
    "two bare CR": f"GET {P} HTTP/1.1\r\nHost: a\r\r{CANARY}",
    "CR CR LF": f"GET {P} HTTP/1.1\r\nHost: a\r\r\n{CANARY}",
    "blank line of a blank": f"GET {P} HTTP/1.1\r\nHost: a\r\n \r\n{CANARY}",
    "blank line of a tab": f"GET {P} HTTP/1.1\r\nHost: a\r\n\t\r\n{CANARY}",
    "HTTP/0.9 request line": f"GET {P}\r\n\r\n{CANARY}",
    "HTTP/0.9 by LF": f"GET {P}\n{CANARY}",
    "canary in the request line": f"GET {P} HTTP/1.1\rHost: a\r\r{CANARY}",
    "canary behind the version": f"GET {P} HTTP/1.1 {CANARY}",
    "canary behind NUL": f"GET {P} HTTP/1.1\r\nHost: a\r\n\0\r\n{CANARY}",
    "canary as a field": f"GET {P} HTTP/1.1\r\nHost: a\r\n{CANARY}",
    "canary in a folded value": f"GET {P} HTTP/1.1\r\nHost: a\r\nX: a\r\n {CANARY}",
    "Host twice": f"GET {P} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{CANARY}",
    "Host differs from the target": f"GET http://b{P} HTTP/1.1\r\nHost: a\r\n\r\n{CANARY}",
    "no Host": f"GET {P} HTTP/1.1\r\n\r\n{CANARY}",
    "Host with a blank before the colon": f"GET {P} HTTP/1.1\r\nHost : a\r\n\r\n{CANARY}",
    "version of two parsers": f"GET {P} HTTP/1.10\r\nHost: a\r\n\r\n{CANARY}",
}


def _cases() -> Iterator[Case]:
    for name, (lines, body) in BOTH.items():
        version = "1.0" if "1.0" in name else "1.1"
        yield refused(name, RFC, post(*lines, body=body, version=version))
    for name, line in OBFUSCATED.items():
        lines = [f"{CL}: {len(END)}", line]
        yield refused(f"TE.TE {name}", RFC, post(*lines, body=END + CANARY), 400, 501)
        yield refused(f"TE.TE {name}, no length", RFC, post(line, body=END + CANARY), 400, 501)
    for name, line in ALIKE.items():
        yield served(
            f"not TE: {name}",
            RFC,
            post(f"{CL}: {len(END + CANARY)}", line, body=END + CANARY),
            posted(END + CANARY),
        )
    for name, lines in LENGTHS.items():
        yield refused(f"CL {name}", RFC, post(*lines, body=CANARY))
    for name, size in SIZES.items():
        yield refused(
            f"chunk size {name}", "9112 7.1, 11.2", chunked(f"{size}\r\nhello\r\n{END}{CANARY}"), 400, 413
        )
    for name, body in ENDS.items():
        yield refused(f"chunk: {name}", "9112 7.1, 11.2", chunked(body))
    for name, data in HEADS.items():
        yield refused(f"head: {name}", "9112 2.2, 11.2", data)
    yield from _legal()
    yield from _switches()
    yield from _early()


def _legal() -> Iterator[Case]:
    """The canary is content, or itself."""
    yield served("content of a length", RFC, post(f"{CL}: {len(CANARY)}", body=CANARY), posted(CANARY))
    yield served("content of a chunk", RFC, chunked(CHUNKED_CANARY), posted(CANARY))
    text = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    split = "".join(f"1\r\n{char}\r\n" for char in text)
    yield served("content of chunks of one byte", RFC, chunked(split + END), posted(text))
    yield served("content of a GET", RFC, request(f"{CL}: {len(CANARY)}", body=CANARY), Seen(body=CANARY))
    yield served(
        "content of a chunked GET", RFC, request(f"{TE}: chunked", body=CHUNKED_CANARY), Seen(body=CANARY)
    )
    yield served(
        "content with last chunks inside",
        RFC,
        chunked(f"{len(END + CANARY):x}\r\n{END}{CANARY}\r\n{END}"),
        posted(END + CANARY),
    )
    yield served(
        "content of HEAD",
        RFC,
        request(f"{CL}: {len(CANARY)}", method="HEAD", body=CANARY),
        Seen(method="HEAD", body=CANARY),
    )
    yield served(
        "content of OPTIONS *",
        RFC,
        request(f"{CL}: {len(CANARY)}", method="OPTIONS", target="*", body=CANARY),
        Seen(method="OPTIONS", path="*", body=CANARY),
    )
    yield served("itself behind length 0", RFC, post(f"{CL}: 0", body=CANARY), posted(), ITSELF)
    yield served("itself behind no length", RFC, post(body=CANARY), posted(), ITSELF)
    yield served(
        "itself behind a body", RFC, post(f"{CL}: 5", body="hello" + CANARY), posted("hello"), ITSELF
    )
    yield served(
        "itself behind chunks", RFC, chunked(f"5\r\nhello\r\n{END}{CANARY}"), posted("hello"), ITSELF
    )
    yield served(
        "itself behind an extension",
        "9112 7.1.1",
        chunked(f'5;a="b;c"\r\nhello\r\n{END}{CANARY}'),
        posted("hello"),
        ITSELF,
    )
    yield served(
        "itself behind a trailer", "9112 7.1.2", chunked(f"0\r\nX: a\r\n\r\n{CANARY}"), posted(), ITSELF
    )
    yield served(
        "itself behind OPTIONS *",
        RFC,
        request(method="OPTIONS", target="*") + CANARY,
        Seen(method="OPTIONS", path="*"),
        ITSELF,
    )
    yield served("itself behind HEAD", RFC, request(method="HEAD") + CANARY, Seen(method="HEAD"), ITSELF)
    yield served(
        "itself behind Content_Length",
        "9110 5.1",
        post(f"Content_Length: {len(CANARY)}", body=CANARY),
        posted(),
        ITSELF,
    )
    yield served(
        "nothing behind close",
        "9112 9.6",
        post("Connection: close", f"{CL}: 0", body=CANARY),
        posted(),
        after=After.CLOSED,
    )
    yield served(
        "nothing behind HTTP/1.0",
        "9112 9.3",
        post(f"{CL}: 0", body=CANARY, version="1.0"),
        posted(version="1.0"),
        after=After.CLOSED,
    )
    yield served(
        "itself behind a kept HTTP/1.0",
        "9112 9.3",
        post("Connection: keep-alive", f"{CL}: 0", body=CANARY, version="1.0"),
        posted(version="1.0"),
        ITSELF,
    )
    yield served(
        "in an encoded target",
        "9112 11.1",
        request(target=f"{P}?%0d%0a%0d%0aGET%20/x"),
        Seen(query="%0d%0a%0d%0aGET%20/x"),
    )
    yield truncated("content that is cut", RFC, post(f"{CL}: {len(CANARY) + 1}", body=CANARY))
    yield truncated("chunk that is cut", RFC, chunked(f"{len(CANARY) + 1:x}\r\n{CANARY}"))


def _switches() -> Iterator[Case]:
    """Upgrades and tunnels: what follows is no HTTP, or HTTP all the same."""
    key = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
    upgrade = ("Connection: Upgrade", "Upgrade: websocket")
    yield Case(
        name="behind a WebSocket handshake that is denied",
        rfc="6455 4.2.2",
        data=request(*upgrade, *key) + CANARY,
        answers=(Answer(status=frozenset({403}), call=f"WEBSOCKET {P}", headers={"connection": "close"}),),
        after=After.ENDED,
    )
    yield refused(
        "behind a WebSocket handshake of version 8",
        "6455 4.2.2",
        request(*upgrade, key[0], "Sec-WebSocket-Version: 8") + CANARY,
        426,
    )
    yield refused("behind a malformed WebSocket handshake", "6455 4.2.1", request(*upgrade, key[1]) + CANARY)
    yield refused(
        "content of a WebSocket handshake",
        "6455 4.1",
        request(*upgrade, *key, f"{CL}: {len(CANARY)}", body=CANARY),
    )
    yield served(
        "behind an upgrade to h2c",
        "9110 7.8",
        request("Connection: Upgrade", "Upgrade: h2c") + CANARY,
        GET,
        ITSELF,
    )
    yield served(
        "content of an upgrade to h2c",
        "9110 7.8",
        post("Connection: Upgrade", "Upgrade: h2c", f"{CL}: {len(CANARY)}", body=CANARY),
        posted(CANARY),
    )
    yield refused("behind CONNECT", "9110 9.3.6", request(method="CONNECT", target="a:80") + CANARY, 501)
    yield refused(
        "content of CONNECT",
        "9110 9.3.6",
        request(f"{CL}: {len(CANARY)}", method="CONNECT", target="a:80", body=CANARY),
        501,
    )
    yield refused(
        "behind the preface of HTTP/2", "9113 3.4", f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{CANARY}", 505
    )
    yield refused(
        "behind an unknown expectation", "9110 10.1.1", post("Expect: x", f"{CL}: 0", body=CANARY), 417
    )
    yield refused("behind too large a length", "9110 15.5.14", post(f"{CL}: 100001", body=CANARY), 413)
    yield refused(
        "behind too long a target", "9110 15.5.15", request(target=f"{P}/" + "x" * 3000) + CANARY, 414
    )
    yield refused("behind too many fields", "6585 5", request(*["X: a"] * 100) + CANARY, 431)


def _early() -> Iterator[Case]:
    """The application answers without reading the body (CL.0, and "pause" attacks)."""
    call = f"POST {P}/respond/whole"
    answer = Answer(status=frozenset({200}), call=call, body="hello")

    def early(name: str, data: str, *answers: Answer, after: After, later: str = "") -> Case:
        path = data.replace(f"POST {P} ", f"{call} ")
        return Case(
            name=f"unread: {name}",
            rfc="9112 9.3, 9.6",
            data=path,
            answers=(answer, *answers),
            after=after,
            later=later,
        )

    yield early("length", post(f"{CL}: {len(CANARY)}", body=CANARY), after=After.OPEN)
    yield early("chunks", chunked(CHUNKED_CANARY), after=After.OPEN)
    own = served("", "", "", ITSELF).answers
    yield early("length, itself behind it", post(f"{CL}: 5", body="hello" + CANARY), *own, after=After.OPEN)
    yield early(
        "after Expect", post("Expect: 100-continue", f"{CL}: {len(CANARY)}"), after=After.ENDED, later=CANARY
    )
    yield early(
        "chunks after Expect", chunked("", "Expect: 100-continue"), after=After.ENDED, later=END + CANARY
    )


CASES = tuple(_cases())
