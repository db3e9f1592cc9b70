"""Times of the commands' own parameters."""

import pytest
import typer

from hsrv.operate.arguments import time_from


def test_they_take_units() -> None:
    assert time_from(0)("1500ms") == 1.5
    assert time_from(0)(5.0) == 5.0


@pytest.mark.parametrize("text", ["x", "50ms", "-1", "nan", "inf"])
def test_what_is_wrong_is_told_in_words(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"allowed is a time from 0\.1, such as 30, 500ms"):
        time_from(0.1)(text)
