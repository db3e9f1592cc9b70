"""`--header-map`: what becomes of names with an underscore. `fields` has the default."""

from pathlib import Path

import pytest

from tests.conformance.case import Case, Seen, post, posted, refused, request, served
from tests.conformance.conftest import serving
from tests.conformance.runner import PLACES, failures

UNDERSCORE = "X_Forwarded_For: 192.0.2.1"

KEEP = (
    served(
        "kept",
        "9110 5.1",
        request(UNDERSCORE, "X-A: b"),
        Seen(headers={"x_forwarded_for": "192.0.2.1", "x-a": "b"}),
    ),
    served(
        "kept, without a meaning",
        "9112 6.3",
        post("Content_Length: 9", "Transfer_Encoding: chunked", "Content-Length: 5", body="hello"),
        posted("hello", headers={"content_length": "9", "transfer_encoding": "chunked"}),
    ),
)
REFUSE = (
    refused("refused", "9110 5.1", request(UNDERSCORE)),
    refused("refused alone", "9110 5.1", request("_: a")),
    refused("refused in another case", "9110 5.1", request("x_a: b")),
    served(
        "an underscore in a value is none in a name",
        "9110 5.1",
        request("X-A: b_c"),
        Seen(headers={"x-a": "b_c"}),
    ),
)


@pytest.mark.parametrize(("header_map", "cases"), [("keep", KEEP), ("refuse", REFUSE)])
def test_names_with_underscores(header_map: str, cases: tuple[Case, ...], tmp_path: Path) -> None:
    with serving(tmp_path, header_map=header_map) as world:
        found = [line for place in PLACES for line in failures(cases, place, world)]
    assert not found, "\n".join(["", *found])
