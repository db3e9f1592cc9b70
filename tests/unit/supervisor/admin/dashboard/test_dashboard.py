"""The dashboard's page as a document: what it is allowed to do, and what it takes from elsewhere."""

import base64
import hashlib
import re

import pytest

from hsrv.supervisor.admin.dashboard.dashboard import PAGE, Dashboard
from hsrv.supervisor.admin.http.route import Request

pytestmark = pytest.mark.anyio

HTML = PAGE.read_text("utf-8")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_only_its_own_style_and_script_are_allowed() -> None:
    response = await Dashboard(needs_token=False).page(Request(method="GET", path="/"))
    policy = dict(
        part.split(" ", 1) for part in response.headers["content-security-policy"].split("; ") if " " in part
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    for tag in ("script", "style"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"


def test_it_needs_nothing_from_elsewhere() -> None:
    assert len(re.findall("<script", HTML)) == len(re.findall("<style", HTML)) == 1
    assert set(re.findall(r"https?://[^\s\"'<]+", HTML)) == {"http://www.w3.org/2000/svg"}, (
        "a name, no address"
    )
    assert re.findall(r"(?:href|src)=\"([^\"]*)\"", HTML) == ["data:,"]


def test_nothing_in_it_becomes_markup_and_no_style_stands_in_an_attribute() -> None:
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "cookie",
        "localStorage",
    ):
        assert word not in HTML
    assert not re.search(r"<[^>]+\s(?:style|on\w+)=", HTML)


async def test_it_knows_whether_a_token_is_wanted() -> None:
    request = Request(method="GET", path="/")
    assert b'<body data-token="needed">' in (await Dashboard(needs_token=True).page(request)).body
    assert b"<body>" in (await Dashboard(needs_token=False).page(request)).body
