"""Header fields: RFC 9112 section 5, RFC 9110 sections 5 and 6.6."""

from collections.abc import Iterator

from tests.conformance.case import Case, P, Seen, refused, request, served

VALUES = {
    # line: value seen
    "X-A: b": "b",
    "X-A:b": "b",
    "X-A: \t b\t ": "b",
    "X-A:": "",
    "X-A:   ": "",
    "X-A: b  c": "b  c",
    "X-A: b\tc": "b\tc",
    "X-A: caf\xe9": "caf\xe9",
    "X-A: \xc3\xa9\xa0\x85": "\xc3\xa9\xa0\x85",
    "X-A: a:b: c": "a:b: c",
    'X-A: "a, b"': '"a, b"',
    "x-a: (comment;=)": "(comment;=)",
    "X-a: \x80\xff": "\x80\xff",
}
NAMES = ["X", "1", "!#$%&'*+-.^`|~", "x" * 200]
BAD_NAMES = {
    "blank before the colon": "X-A : b",
    "tab before the colon": "X-A\t: b",
    "blank inside": "X A: b",
    "empty": ": b",
    "only a blank": " : b",
    "no colon": "X-A",
    "no colon, blank": "X-A b",
    "parenthesis": "X(A): b",
    "quote": '"X-A": b',
    "at": "X@A: b",
    "slash": "X/A: b",
    "backslash": "X\\A: b",
    "brackets": "X[A]: b",
    "braces": "X{A}: b",
    "equals": "X=A: b",
    "comma": "X,A: b",
    "semicolon": "X;A: b",
    "NUL": "X\0A: b",
    "control": "X\x01A: b",
    "DEL": "X\x7fA: b",
    "Latin-1": "X-\xe9: b",
    "no-break space": "X-A\xa0: b",
    "bare CR": "X-\rA: b",
    "CR before the colon": "X-A\r: b",
    "bare LF": "X-\nA: b",
    "vertical tab first": "\x0bX-A: b",
}
BAD_VALUES = {
    "NUL": "X-A: b\0c",
    "NUL alone": "X-A: \0",
    "NUL at the end": "X-A: b\0",
    "SOH": "X-A: b\x01c",
    "backspace": "X-A: b\x08c",
    "vertical tab": "X-A: b\x0bc",
    "form feed": "X-A: b\x0cc",
    "escape": "X-A: b\x1bc",
    "unit separator": "X-A: b\x1fc",
    "DEL": "X-A: b\x7fc",
    "bare CR": "X-A: b\rc",
    "bare CR at the end": "X-A: b\r",
    "bare CR that looks like a field": "X-A: b\rHost: c",
    "bare LF": "X-A: b\nX-C: d",
    "LF CR": "X-A: b\n\rX-C: d",
}
FOLDS = {
    "blank": "X-A: b\r\n c",
    "tab": "X-A: b\r\n\tc",
    "blank alone": "X-A: b\r\n ",
    "empty value": "X-A:\r\n b",
    "two": "X-A: b\r\n c\r\n d",
    "a name before the fold": "X-A\r\n : b",
    "a whole field": "X-A: b\r\n Content-Length: 5",
}


def _cases() -> Iterator[Case]:
    for line, value in VALUES.items():
        yield served(f"value of {line!r}", "9112 5, 9110 5.5", request(line), Seen(headers={"x-a": value}))
    for name in NAMES:
        yield served(
            f"name {name[:20]}", "9110 5.1", request(f"{name}: b"), Seen(headers={name.lower(): "b"})
        )
    yield served("one name twice", "9110 5.2", request("X-A: b", "x-a: c"), Seen(headers={"x-a": "b|c"}))
    for name, line in BAD_NAMES.items():
        yield refused(f"name: {name}", "9112 5.1, 9110 5.6.2", request(line))
        yield refused(f"name: {name}, a field after it", "9112 5.1", request(line, "X-C: d"))
    for name, line in BAD_VALUES.items():
        yield refused(f"value: {name}", "9110 5.5", request(line))
        yield refused(f"value: {name}, a field after it", "9110 5.5", request(line, "X-C: d"))
    for name, lines in FOLDS.items():
        yield refused(f"folded: {name}", "9112 5.2", request(lines))
    yield refused("folded first field", "9112 2.2", f"GET {P} HTTP/1.1\r\n Host: a\r\n\r\n")
    yield refused("blank line of blanks", "9112 2.2", f"GET {P} HTTP/1.1\r\nHost: a\r\n \r\n\r\n")
    yield refused("field by a bare LF", "9112 2.2", f"GET {P} HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n")
    yield refused("head ended by two LF", "9112 2.2", f"GET {P} HTTP/1.1\r\nHost: a\n\n")
    yield refused("head ended by CR LF LF", "9112 2.2", f"GET {P} HTTP/1.1\r\nHost: a\r\n\n")
    yield refused("head ended by LF CR LF", "9112 2.2", f"GET {P} HTTP/1.1\r\nHost: a\n\r\n")
    yield refused("lines by CR alone", "9112 2.2", f"GET {P} HTTP/1.1\rHost: a\r\r")
    yield refused("lines by LF CR", "9112 2.2", f"GET {P} HTTP/1.1\n\rHost: a\n\r\n\r")
    yield served(
        "names with underscores are dropped",
        "9110 5.1",
        request("X_A: b", "X-A: c_d", "Content_Length: 5", "_: e"),
        Seen(only=frozenset({"host", "x-a"}), headers={"x-a": "c_d"}),
    )


CASES = tuple(_cases())
