"""The Markdown of the benchmark."""

from typing import Final

from bench.tables import Metric, Row, shares, table

RATE: Final = Metric("rate", "requests/s", 0, more_is_better=True)
P99: Final = Metric("p99", "p99 ms", 1)
INSTRUCTIONS: Final = Metric("instr", "instructions", 0)


def lines(rows: dict[str, Row], *metrics: Metric) -> list[list[str]]:
    """The cells of the body, and of the head first."""
    head, _, *body = table(rows, metrics).splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in [head, *body]]


def test_a_line_has_median_spread_ratio_and_the_other_medians() -> None:
    rows: dict[str, Row] = {
        "a": {"samples": [{"rate": 1000, "p99": 1}, {"rate": 3000, "p99": 2}, {"rate": 2000, "p99": 9}]},
        "b": {"samples": [{"rate": 4000, "p99": 1}]},
    }
    head, a, b = lines(rows, RATE, P99)
    assert head == ["server", "requests/s (more is better)", "min - max", "÷ best other", "p99 ms"]
    assert a == ["a", "2,000", "1,000 - 3,000", "0.50", "2.0"]
    assert b == ["b", "4,000", "4,000 - 4,000", "2.00", "1.0"]


def test_a_limit_is_no_competitor() -> None:
    rows: dict[str, Row] = {
        "a": {"samples": [{"rate": 10}]},
        "b": {"samples": [{"rate": 5}]},
        "nginx": {"samples": [{"rate": 100}], "limit": True},
    }
    assert [line[3] for line in lines(rows, RATE)[1:]] == ["2.00", "0.50", "limit"]


def test_a_server_without_result_says_why() -> None:
    rows: dict[str, Row] = {
        "a": {"samples": [{"rate": 10, "p99": 1}]},
        "b": {"samples": [], "failed": "not installed"},
    }
    assert lines(rows, RATE, P99)[2][:2] == ["b", "not installed"]


def test_a_server_that_failed_later_keeps_its_samples_and_says_why_there_are_fewer() -> None:
    rows: dict[str, Row] = {"a": {"samples": [{"rate": 10}], "failed": "a wrong answer"}}
    assert lines(rows, RATE)[1][:2] == ["a (1 rounds only: a wrong answer)", "10"]


def test_a_column_that_nobody_fills_is_left_out() -> None:
    rows: dict[str, Row] = {"a": {"samples": [{"rate": 10, "p99": 1}]}, "b": {"samples": [{"rate": 10}]}}
    head, _, b = lines(rows, RATE, INSTRUCTIONS, P99)
    assert head[4:] == ["p99 ms"]
    assert b[4:] == [""]


def test_a_bar_in_a_reason_makes_no_new_cell() -> None:
    rows: dict[str, Row] = {"a": {"samples": [], "failed": "x | y"}}
    assert "x \\| y" in table(rows, [RATE])


def test_shares_are_of_the_same_server_and_leave_out_who_is_not_in_both() -> None:
    rows: dict[str, Row] = {"a": {"samples": [{"rate": 5}]}, "b": {"samples": [{"rate": 3}]}}
    baseline: dict[str, Row] = {"a": {"samples": [{"rate": 10}]}, "b": {"samples": []}}
    assert shares(rows, baseline, RATE) == "a 0.50"
