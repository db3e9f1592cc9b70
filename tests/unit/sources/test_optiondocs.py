"""The options page is what the declarations say."""

from pathlib import Path

from hsrv.options.config import options
from hsrv.sources.optiondocs import render

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "options.md"


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == render(), "run: python -m hsrv.sources.optiondocs > docs/options.md"


def test_every_option_is_on_the_page_with_its_variable() -> None:
    page = render()
    for option in options():
        assert f"`{option.variable}`" in page
