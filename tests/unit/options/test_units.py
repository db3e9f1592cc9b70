"""Times and sizes with a unit."""

import pytest

from hsrv.options.units import parse_size, parse_time, size_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        (" 1.5 h ", 5400.0),
        ("1d", 86400.0),
        ("0s", 0.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "2 weeks", "2x", "-1m", "1m x", "1,5s", "2M"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("64KiB", 65536),
        ("64k", 65536),
        ("200M", 200 * 1024**2),
        ("200 mib", 200 * 1024**2),
        ("1.5GB", 1_500_000_000),
        ("1T", 1024**4),
        ("10B", 10),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1.5", "10 apples", "-1M", "1Mi", "1ib", "1MiB2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(0, "0"), (240, "240"), (65536, "64KiB"), (1024**3, "1GiB")])
def test_a_size_is_shown_as_short_as_it_is_exact(size: int, text: str) -> None:
    assert size_text(size) == text
    assert parse_size(text) == size
