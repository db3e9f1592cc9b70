"""Routes of the admin address."""

import msgspec
import pytest

from hsrv.supervisor.admin.http.route import JSON, AdminRoute, Request, Response, json_response, problem


async def handler(request: Request) -> Response:
    return Response()


@pytest.mark.parametrize(
    ("methods", "allowed"),
    [(("GET",), ("GET", "HEAD")), (("POST",), ("POST",)), (("GET", "POST"), ("GET", "POST", "HEAD"))],
)
def test_head_is_allowed_where_get_is(methods: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    assert AdminRoute(handler, methods).allowed == allowed


def test_a_route_needs_the_token_and_changes_nothing_unless_it_says_so() -> None:
    route = AdminRoute(handler)
    assert (route.public, route.writes) == (False, False)


def test_json_ends_with_a_line_end_for_terminals() -> None:
    answer = json_response({"a": [1]}, 202)
    assert (answer.body, answer.content_type, answer.status) == (b'{"a":[1]}\n', JSON, 202)


def test_a_problem_is_json_with_its_status_and_headers() -> None:
    answer = problem(401, 'not "you"', {"www-authenticate": "Bearer"})
    assert msgspec.json.decode(answer.body) == {"error": 'not "you"'}
    assert (answer.status, answer.headers) == (401, {"www-authenticate": "Bearer"})
