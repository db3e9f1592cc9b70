"""What `perf stat -x,` says."""

import pytest

from bench.perf import parse


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("123456,,instructions:u,2000000,100.00,,\n", 123456.0),
        ("# started\n\n9,,cycles:u,1,100.00,,\n12,,instructions:u,1,50.00,,\n", 12.0),
        ("<not supported>,,instructions:u,0,100.00,,\n", None),
        ("<not counted>,,instructions:u,0,0.00,,\n", None),
        ("Error: no permission\n", None),
        ("", None),
    ],
)
def test_the_count_is_found_or_its_absence(output: str, expected: float | None) -> None:
    assert parse(output) == expected
