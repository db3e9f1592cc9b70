"""Who is let in at the admin address."""

import pytest

from hsrv.supervisor.admin.http.guard import Guard
from hsrv.supervisor.admin.http.route import AdminRoute, Request, Response


async def nothing(request: Request) -> Response:
    return Response()


OPEN = AdminRoute(nothing, public=True)
CLOSED = AdminRoute(nothing)
CHANGES = AdminRoute(nothing, methods=("POST",), writes=True)
HERE = {"host": "localhost:8001"}


def status(guard: Guard, route: AdminRoute | None, headers: dict[str, str], method: str = "GET") -> int:
    refusal = guard.refusal(route, method, headers, local=False)
    return refusal.status if refusal is not None else 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:8001", 200),
        ("app.localhost:8001", 200),
        ("127.0.0.1:8001", 200),
        ("127.8.9.10", 200),
        ("10.1.2.3:8001", 200),
        ("[::1]:8001", 200),
        ("[::1]", 200),
        ("::1", 200),
        ("admin.internal:8001", 200),
        ("admin.internal.", 200),
        ("evil.example", 421),
        ("evil.example:8001", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("notlocalhost", 421),
        ("127.0.0.1:8001:evil.example", 421),
        ("[evil.example]", 421),
        ("", 200),
    ],
)
def test_a_name_that_is_not_ours_is_refused_for_every_path(host: str, expected: int) -> None:
    guard = Guard(names=("Admin.Internal",))
    for route in (OPEN, CLOSED):
        assert status(guard, route, {"host": host}) == expected


def test_any_name_may_be_allowed() -> None:
    assert status(Guard(names=("*",)), OPEN, {"host": "evil.example"}) == 200


def test_no_browser_reaches_a_socket_file_so_its_name_is_anything() -> None:
    assert Guard().refusal(OPEN, "GET", {"host": "evil.example"}, local=True) is None


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer wrong", 401),
        ("Bearer secret2", 401),
        ("Basic secret", 401),
        ("secret", 401),
        ("Bearer secret", 200),
        ("bearer secret", 200),
        ("Bearer  secret ", 200),
    ],
)
def test_all_but_public_paths_want_the_token(authorization: str | None, expected: int) -> None:
    guard = Guard(token="secret")
    headers = HERE | ({"authorization": authorization} if authorization is not None else {})
    assert status(guard, CLOSED, headers) == expected
    assert status(guard, OPEN, headers) == 200
    assert status(guard, None, headers) == (404 if expected == 200 else 401), (
        "what there is, is told to nobody"
    )


def test_without_a_token_everybody_is_let_in() -> None:
    assert status(Guard(), CLOSED, HERE) == 200


def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has() -> None:
    assert status(Guard(), CLOSED, HERE, "HEAD") == 200
    refusal = Guard().refusal(CLOSED, "POST", HERE, local=False)
    assert refusal is not None
    assert (refusal.status, refusal.headers["allow"]) == (405, "GET, HEAD")


def test_only_a_writable_server_lets_anything_be_changed() -> None:
    assert status(Guard(), CHANGES, HERE, "POST") == 403
    assert status(Guard(writable=True), CHANGES, HERE, "POST") == 200
    assert status(Guard(writable=True), CHANGES, HERE, "GET") == 405


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:8001", 200),
        ("http://evil.example", 403),
        ("http://localhost:9", 403),
        ("null", 403),
    ],
)
def test_a_page_from_elsewhere_changes_nothing(origin: str, expected: int) -> None:
    assert status(Guard(writable=True), CHANGES, HERE | {"origin": origin}, "POST") == expected
