"""Medians, percentiles and ratios of the benchmark."""

import pytest

from bench.stats import Summary, best, percentile, summarise, to_best_other


def test_a_summary_is_median_lowest_highest_and_how_many() -> None:
    assert summarise([3.0, 1.0, 8.0]) == Summary(3.0, 1.0, 8.0, 3)
    assert summarise([1.0, 3.0]) == Summary(2.0, 1.0, 3.0, 2)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (99.1, 100), (100, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_a_percentile_of_one_value_is_that_value_and_of_none_is_refused() -> None:
    assert percentile([7.0], 99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_the_best_is_the_most_or_the_least() -> None:
    medians = {"a": 1.0, "b": 2.0}
    assert best(medians, more_is_better=True) == "b"
    assert best(medians, more_is_better=False) == "a"
    assert best({}, more_is_better=True) is None


def test_the_ratio_is_to_the_best_of_the_others() -> None:
    medians = {"a": 10.0, "b": 20.0, "c": 5.0}
    assert to_best_other(medians, "a", more_is_better=True) == 0.5
    assert to_best_other(medians, "b", more_is_better=True) == 2.0
    assert to_best_other(medians, "a", more_is_better=False) == 2.0


@pytest.mark.parametrize("medians", [{}, {"a": 1.0}, {"a": 1.0, "b": 0.0}, {"b": 1.0}])
def test_there_is_no_ratio_without_something_to_compare_with(medians: dict[str, float]) -> None:
    assert to_best_other(medians, "a", more_is_better=True) is None
