"""Sums of the metrics of several processes, by kind."""

import pytest

from hsrv.supervisor.admin.metrics.metricfiles import BadFile, Entry, Key, Labels
from hsrv.supervisor.admin.metrics.metricsums import Sums, both, settled


def entry(value: float, at: float = 0.0, *, name: str = "m", labels: Labels = ()) -> Entry:
    return Entry("", Key("m", name, labels, "Help."), value, at)


def samples(sums: Sums) -> list[tuple[str, dict[str, str], float]]:
    found = sums.families(lambda name, why: pytest.fail(f"{name}: {why}"))
    return [(one.name, one.labels, one.value) for family in found for one in family.samples]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("counter", 5.0),
        ("summary", 5.0),
        ("gauge_sum", 5.0),
        ("gauge_livesum", 5.0),
        ("gauge_max", 3.0),
        ("gauge_livemin", 2.0),
        ("gauge_mostrecent", 2.0),
    ],
)
def test_two_processes_are_combined_by_kind(kind: str, expected: float) -> None:
    sums = Sums()
    sums.add(kind, "1", [entry(3.0, at=10.0)])
    sums.add(kind, "2", [entry(2.0, at=20.0)])
    assert samples(sums) == [("m", {}, expected)]


def test_a_gauge_of_all_processes_has_a_series_for_each() -> None:
    sums = Sums()
    sums.add("gauge_all", "1", [entry(3.0)])
    sums.add("gauge_liveall", "2", [entry(2.0)])
    assert samples(sums) == [("m", {"pid": "1"}, 3.0), ("m", {"pid": "2"}, 2.0)]


def test_series_with_other_labels_are_separate() -> None:
    sums = Sums()
    sums.add("counter", "1", [entry(3.0, labels=(("a", "x"),)), entry(1.0, labels=(("a", "y"),))])
    sums.add("counter", "2", [entry(2.0, labels=(("a", "x"),))])
    assert samples(sums) == [("m", {"a": "x"}, 5.0), ("m", {"a": "y"}, 1.0)]


def test_a_most_recent_value_that_was_never_set_does_not_count() -> None:
    sums = Sums()
    sums.add("gauge_mostrecent", "1", [entry(3.0, at=0.0)])
    assert samples(sums) == []


def test_the_buckets_of_a_histogram_include_those_below() -> None:
    sums = Sums()
    for pid in ("1", "2"):
        found = [entry(2.0, name="m_bucket", labels=(("le", le),)) for le in ("+Inf", "1.0", "5.0")]
        sums.add("histogram", pid, [entry(7.5, name="m_sum"), *found])
    assert samples(sums) == [
        ("m_sum", {}, 15.0),
        ("m_bucket", {"le": "1.0"}, 4.0),
        ("m_bucket", {"le": "5.0"}, 8.0),
        ("m_bucket", {"le": "+Inf"}, 12.0),
        ("m_count", {}, 12.0),
    ]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadFile, match="unknown kind"):
        Sums().add("gauge_median", "1", [])


def test_a_bound_that_is_no_number_is_reported_and_the_rest_is_shown() -> None:
    sums, told = Sums(), list[str]()
    sums.add("histogram", "1", [entry(1.0, name="m_bucket", labels=(("le", "much"),))])
    sums.add("counter", "1", [entry(1.0)])
    assert len(list(sums.families(lambda name, why: told.append(name)))) == 1
    assert told == ["m"]


def test_a_live_kind_has_the_arithmetic_of_its_plain_one() -> None:
    assert settled("gauge_livemax") == "gauge_max"
    assert settled("counter") == "counter"
    assert both("counter", (1.0, 9.0), (2.0, 8.0)) == (3.0, 0.0)
