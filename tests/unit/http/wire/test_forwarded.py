"""Who the client is, by headers that anybody can write."""

import pytest

from hsrv.common.request import Address
from hsrv.http.wire.forwarded import MAX_HOPS, TrustedProxies

PROXIES = TrustedProxies(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix"])
PEER: Address = ("127.0.0.1", 5000)


def resolve(
    *headers: tuple[bytes, bytes], peer: Address | None = PEER, proxies: TrustedProxies = PROXIES
) -> tuple[Address | None, str]:
    return proxies.resolve(peer, "http", list(headers))


def test_without_headers_the_peer_is_the_client() -> None:
    assert resolve((b"host", b"a")) == (PEER, "http")


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (("127.0.0.1", 1), True),
        (("::ffff:127.0.0.1", 1), True),
        (("10.200.0.1", 1), True),
        (("2001:db8::5", 1), True),
        (("", None), True),
        (None, True),
        (("127.0.0.2", 1), False),
        (("9.9.9.9", 1), False),
        (("not an address", 1), False),
    ],
)
def test_only_a_trusted_peer_is_believed(peer: Address | None, trusted: bool) -> None:
    answer = resolve((b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-proto", b"https"), peer=peer)
    assert answer == ((("1.2.3.4", 0), "https") if trusted else (peer, "http"))


def test_a_unix_peer_is_trusted_only_if_named() -> None:
    headers = (b"x-forwarded-for", b"1.2.3.4")
    assert resolve(headers, peer=None, proxies=TrustedProxies(["127.0.0.1"])) == (None, "http")


@pytest.mark.parametrize(
    ("value", "client"),
    [
        (b"1.2.3.4", ("1.2.3.4", 0)),
        (b"1.2.3.4:77", ("1.2.3.4", 77)),
        (b"2606::1", ("2606::1", 0)),
        (b"[2606::1]", ("2606::1", 0)),
        (b"[2606::1]:80", ("2606::1", 80)),
        (b"6.6.6.6, 1.2.3.4", ("1.2.3.4", 0)),
        (b"6.6.6.6, 1.2.3.4, 10.0.0.1 ,10.0.0.2", ("1.2.3.4", 0)),
        (b"10.0.0.9, 10.0.0.1", ("10.0.0.9", 0)),
        (b"1.2.3.4, unknown", PEER),
        (b"1.2.3.4, _hidden, 10.0.0.1", ("10.0.0.1", 0)),
        (b"1.2.3.4, junk:junk:", PEER),
        (b"1.2.3.4,", PEER),
        (b"", PEER),
        (b"1.2.3.999", PEER),
        (b"[1.2.3.4", PEER),
        (b"\xff", PEER),
    ],
)
def test_the_client_is_the_rightmost_untrusted_node(value: bytes, client: Address) -> None:
    assert resolve((b"x-forwarded-for", value)) == (client, "http")


def test_repeated_fields_are_one_list() -> None:
    assert resolve((b"x-forwarded-for", b"6.6.6.6, 1.2.3.4"), (b"x-forwarded-for", b"10.0.0.1")) == (
        ("1.2.3.4", 0),
        "http",
    )


@pytest.mark.parametrize(
    ("nodes", "schemes", "scheme"),
    [
        (b"1.2.3.4", b"https", "https"),
        (b"1.2.3.4", b"WSS", "https"),
        (b"1.2.3.4", b"ws", "http"),
        (b"1.2.3.4", b"gopher", "http"),
        (b"1.2.3.4", b"https, http", "http"),
        (b"1.2.3.4, 10.0.0.1", b"https", "https"),
        (b"1.2.3.4, 10.0.0.1", b"https, http", "https"),
        (b"6.6.6.6, 1.2.3.4, 10.0.0.1", b"https, http, http", "http"),
    ],
)
def test_the_scheme_is_that_of_the_clients_own_connection(nodes: bytes, schemes: bytes, scheme: str) -> None:
    assert resolve((b"x-forwarded-for", nodes), (b"x-forwarded-proto", schemes)) == (("1.2.3.4", 0), scheme)


def test_a_scheme_alone_is_taken() -> None:
    assert resolve((b"x-forwarded-proto", b"https")) == (PEER, "https")


@pytest.mark.parametrize(
    ("value", "client", "scheme"),
    [
        (b"for=1.2.3.4", ("1.2.3.4", 0), "http"),
        (b"For=1.2.3.4;Proto=HTTPS;by=10.0.0.1;host=a", ("1.2.3.4", 0), "https"),
        (b'for="1.2.3.4:77"; proto="https"', ("1.2.3.4", 77), "https"),
        (b'for="[2606::1]"', ("2606::1", 0), "http"),
        (b'for="[2606::1]:80"', ("2606::1", 80), "http"),
        (b'for="[2606::1]:_port"', ("2606::1", 0), "http"),
        (b'for="1.2.3\\.4"', ("1.2.3.4", 0), "http"),
        (b"for=6.6.6.6;proto=https, for=1.2.3.4;proto=http, for=10.0.0.1", ("1.2.3.4", 0), "http"),
        (b"for=1.2.3.4;proto=https, for=10.0.0.1;proto=http", ("1.2.3.4", 0), "https"),
        (b"for=unknown;proto=https", PEER, "https"),
        (b"for=_hidden, for=10.0.0.1", ("10.0.0.1", 0), "http"),
        (b'for=6.6.6.6, for="_a,b\\",c"', PEER, "http"),
        (b"proto=https", PEER, "https"),
        (b'for="6.6.6.6, for=1.2.3.4', ("1.2.3.4", 0), "http"),
        (b"junk, for=10.0.0.1", ("10.0.0.1", 0), "http"),
        (b"for = 1.2.3.4", PEER, "http"),
        (b"for=1.2.3.4 proto=https", PEER, "http"),
        (b"", PEER, "http"),
        (b",", PEER, "http"),
    ],
)
def test_forwarded_is_read_the_same_way(value: bytes, client: Address, scheme: str) -> None:
    assert resolve((b"forwarded", value)) == (client, scheme)


def test_forwarded_beats_the_older_fields() -> None:
    answer = resolve(
        (b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-proto", b"https"), (b"forwarded", b"for=1.2.3.4")
    )
    assert answer == (("1.2.3.4", 0), "http")


def test_everybody_may_be_trusted() -> None:
    everybody = TrustedProxies(["*"])
    answer = resolve((b"x-forwarded-for", b"1.2.3.4, 5.6.7.8"), peer=("9.9.9.9", 1), proxies=everybody)
    assert answer == (("1.2.3.4", 0), "http")


def test_the_search_is_bounded() -> None:
    nodes = [b"10.0.1.%d" % number for number in range(100)]
    client, _ = resolve((b"x-forwarded-for", b", ".join([b"1.2.3.4", *nodes])))
    assert client == (f"10.0.1.{100 - MAX_HOPS}", 0)


@pytest.mark.parametrize("entry", ["", "localhost", "10.0.0.0/33", "1.2.3", "unix:"])
def test_an_entry_that_is_no_network_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=f"^{entry}$"):
        TrustedProxies(["127.0.0.1", entry])


@pytest.mark.parametrize(
    "node", [b"::1%x", b"[::1%x]", b"[::1%x]:80", b"fe80::1%eth0", b"6.6.6.6%x", b"::1%\xff\x1b[2J"]
)
@pytest.mark.parametrize("name", [b"x-forwarded-for", b"forwarded"])
def test_a_zone_which_may_be_any_text_is_no_address(name: bytes, node: bytes) -> None:
    value = b'for=6.6.6.6, for="' + node + b'"' if name == b"forwarded" else b"6.6.6.6, " + node
    assert resolve((name, value)) == (PEER, "http")


@pytest.mark.parametrize(
    ("host", "trusted"), [("::1", True), ("::1%x", False), ("fe80::1%eth0", True), ("2606::1%x", False)]
)
def test_only_the_zone_of_a_link_local_peer_which_the_kernel_gives_is_overlooked(
    host: str, trusted: bool
) -> None:
    assert TrustedProxies(["::1", "fe80::/10", "2606::/16"]).trusts((host, 1)) is trusted


def test_what_stands_before_all_that_is_looked_at_changes_nothing() -> None:
    for junk in (b"," * 60_000, b'"' * 60_000, b"for=6.6.6.6," * 5_000, b'a="' + b"," * 60_000):
        assert resolve((b"forwarded", junk + b", for=1.2.3.4"))[0] == ("1.2.3.4", 0)
        assert resolve((b"x-forwarded-for", junk + b", 1.2.3.4"))[0] == ("1.2.3.4", 0)


def test_a_quoted_string_may_hold_commas() -> None:
    assert resolve((b"forwarded", b'for=1.2.3.4;host="a,b,,c", for=10.0.0.1;x="' + b"," * 20 + b'"')) == (
        ("1.2.3.4", 0),
        "http",
    )


def test_the_longest_node_of_all_is_read() -> None:
    node = "[2606:" + ":".join(["ffff"] * 5) + ":255.255.255.255]:65535"
    escaped = "".join(f"\\{char}" for char in node)
    assert resolve((b"forwarded", f'for="{escaped}"'.encode()))[0] == (
        "2606:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        65535,
    )
