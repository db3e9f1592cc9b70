"""Targets: RFC 9112 section 3.2, RFC 3986. Host: RFC 9110 section 7.2."""

from collections.abc import Iterator

from tests.conformance.case import GET, PROBE, After, Case, P, Seen, refused, request, served

HOSTS = {
    "name": "example.org",
    "name with port": "example.org:8000",
    "upper case": "Example.ORG",
    "empty": "",
    "empty port": "a:",
    "IPv4": "127.0.0.1:80",
    "IPv6": "[::1]",
    "IPv6 with port": "[2001:db8::1]:443",
    "percent-encoded": "%41.example",
    "underscore": "my_service:1",
    "tilde": "a~b",
}
NO_HOSTS = {
    "blank inside": "a b",
    "path": "a/b",
    "user": "user@a",
    "user and password": "user:secret@a",
    "list": "a, b",
    "URL": "http://a",
    "port no number": "a:http",
    "port too long": "a:655366",
    "port negative": "a:-1",
    "two ports": "a:80:80",
    "bracket open": "[::1",
    "bracket shut": "::1]",
    "bare IPv6": "::1",
    "empty brackets": "[]",
    "half percent": "a%4",
    "no hex": "a%zz",
    "Latin-1": "caf\xe9",
    "quote": 'a"b',
    "less": "<a>",
    "backslash": "a\\b",
    "fragment": "a#b",
    "query": "a?b",
    "tab inside": "a\tb",
}
TARGETS = {
    # suffix to P: (path, query)
    "": ("", ""),
    "/": ("/", ""),
    "//x": ("//x", ""),
    "/a%2Fb": ("/a%2Fb", ""),
    "/%C3%A9": ("/%C3%A9", ""),
    "/%zz%": ("/%zz%", ""),
    "/%00": ("/%00", ""),
    "/%0d%0ax:y": ("/%0d%0ax:y", ""),
    "/../x/./y": ("/../x/./y", ""),
    "/;a=b": ("/;a=b", ""),
    "/a\\b": ("/a\\b", ""),
    '/<">{}|^`': ('/<">{}|^`', ""),
    "?": ("", ""),
    "?a=b&c": ("", "a=b&c"),
    "?a?b": ("", "a?b"),
    "?/../": ("", "/../"),
    "?%20+": ("", "%20+"),
}
NO_TARGETS = {
    "fragment": f"{P}#top",
    "fragment in the query": f"{P}?a#top",
    "NUL": f"{P}\0",
    "control": f"{P}\x01",
    "escape": f"{P}\x1b[0m",
    "DEL": f"{P}\x7f",
    "Latin-1": f"{P}\xe9",
    "UTF-8": f"{P}\xc3\xa9",
    "blank": f"{P} x",
    "tab": f"{P}\tx",
    "bare CR": f"{P}\rx",
    "bare LF": f"{P}\nx",
    "no slash": "path",
    "asterisk with GET": "*",
    "authority with GET": "a:80",
    "other scheme": f"ftp://a{P}",
    "file": f"file://{P}",
    "no authority": f"http://{P}",
    "one slash": f"http:/a{P}",
    "user": f"http://user@a{P}",
    "port no number": f"http://a:x{P}",
    "host with brackets": f"http://[a{P}",
    "backslash": f"http:\\\\a{P}",
    "asterisk and more": "*x",
}
DIFFERENT = {
    "other name": "b",
    "port": "a:81",
    "subdomain": "x.a",
    "suffix": "a.x",
    "empty": "",
    "the port of https": "a:443",
}


def _cases() -> Iterator[Case]:
    for name, host in HOSTS.items():
        yield served(f"Host: {name}", "9110 7.2", request(host=host), Seen(headers={"host": host}))
    yield served(
        "Host in upper case", "9110 5.1", f"GET {P} HTTP/1.1\r\nHOST:a\r\n\r\n", Seen(headers={"host": "a"})
    )
    for name, host in NO_HOSTS.items():
        yield refused(f"Host: {name}", "9112 3.2, 9110 7.2", request(host=host))
    yield refused("no Host", "9112 3.2", request(host=None))
    yield refused("no Host for HEAD", "9112 3.2, 9110 9.3.2", request(host=None, method="HEAD"))
    yield refused("Host twice", "9112 3.2", request("Host: b"))
    yield refused("Host twice the same", "9112 3.2", request("Host: a"))
    yield refused("Host twice in other case", "9112 3.2", request("hOST: a"))
    yield refused("Host twice, apart", "9112 3.2", request("X-A: b", "Accept: */*", "Host: b"))
    yield refused("Host twice, one empty", "9112 3.2", request("Host:"))
    yield refused("Host twice in HTTP/1.0", "9112 3.2", request("Host: b", version="1.0"))
    yield refused("malformed Host in HTTP/1.0", "9112 3.2", request(version="1.0", host="a b"))
    yield served(
        "no Host in HTTP/1.0",
        "9112 3.2",
        request(host=None, version="1.0"),
        Seen(version="1.0", headers={"host": None}),
        after=After.CLOSED,
    )
    for target, (path, query) in TARGETS.items():
        yield served(
            f"target {target!r}", "9112 3.2.1", request(target=P + target), Seen(path=P + path, query=query)
        )
    for name, target in NO_TARGETS.items():
        yield refused(f"target: {name}", "9112 3.2, 3986 3", request(target=target))
    yield from _absolute()
    yield from _other_forms()


def _absolute() -> Iterator[Case]:
    for name, target, host, query in [
        ("plain", f"http://a{P}", "a", ""),
        ("upper case", f"HTTP://A{P}", "a", ""),
        ("query", f"http://a{P}?b=c", "a", "b=c"),
        ("default port in the target", f"http://a:80{P}", "a", ""),
        ("default port in Host", f"http://a{P}", "a:80", ""),
        ("port", f"http://a:81{P}", "a:81", ""),
        ("https", f"https://a{P}", "a:443", ""),
        ("IPv6", f"http://[::1]{P}", "[::1]", ""),
        ("URL in the query", f"http://a{P}?http://b/", "a", "http://b/"),
    ]:
        yield served(f"absolute: {name}", "9112 3.2.2", request(target=target, host=host), Seen(query=query))
    for name, host in DIFFERENT.items():
        yield refused(
            f"absolute, Host differs: {name}", "9112 3.2.2", request(target=f"http://a{P}", host=host)
        )
    yield refused("absolute without Host", "9112 3.2", request(target=f"http://a{P}", host=None))
    yield served(
        "absolute without Host in HTTP/1.0",
        "9112 3.2.2",
        request(target=f"http://a:81{P}", host=None, version="1.0"),
        Seen(version="1.0", headers={"host": "a:81"}),
        after=After.CLOSED,
    )
    yield refused(
        "absolute, Host differs in HTTP/1.0",
        "9112 3.2.2",
        request(target=f"http://a{P}", host="b", version="1.0"),
    )


def _other_forms() -> Iterator[Case]:
    star = Seen(method="OPTIONS", path="*")
    yield served("asterisk", "9112 3.2.4", request(method="OPTIONS", target="*"), star)
    yield served(
        "asterisk, then another", "9112 3.2.4", request(method="OPTIONS", target="*") + request(), star, GET
    )
    yield refused("asterisk with a query", "9112 3.2.4", request(method="OPTIONS", target="*?x"))
    yield refused("CONNECT", "9110 9.3.6", request(method="CONNECT", target="a:443", host="a:443"), 501)
    yield refused("CONNECT to a path", "9112 3.2.3", request(method="CONNECT"), 400, 501)
    yield refused(
        "CONNECT with a tunnel's bytes", "9110 9.3.6", request(method="CONNECT", target="a:80") + PROBE, 501
    )
    yield served(
        "lower-case connect is a method like others",
        "9110 9.1",
        request(method="connect"),
        Seen(method="connect"),
    )


CASES = tuple(_cases())
