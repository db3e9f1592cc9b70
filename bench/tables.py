"""Results as Markdown. Pure.

A result is what the JSON file holds: for each scenario its servers, for each server its samples or why there are none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from bench.stats import summarise, to_best_other


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    digits: int
    more_is_better: bool = False


class Row(TypedDict, total=False):
    samples: list[dict[str, float]]
    failed: str
    """Why there are no samples, or fewer than rounds."""
    limit: bool
    """No competitor: what the machine can do."""


Rows = Mapping[str, Row]


def number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def values(row: Row, metric: Metric) -> list[float]:
    return [sample[metric.key] for sample in row.get("samples", []) if metric.key in sample]


def medians(rows: Rows, metric: Metric) -> dict[str, float]:
    """Of the competitors."""
    found = {name: values(row, metric) for name, row in rows.items() if not row.get("limit")}
    return {name: summarise(some).median for name, some in found.items() if some}


def ratio(rows: Rows, name: str, metric: Metric) -> str:
    if rows[name].get("limit"):
        return "limit"
    found = to_best_other(medians(rows, metric), name, metric.more_is_better)
    return "" if found is None else f"{found:.2f}"


def cells(rows: Rows, name: str, metrics: Sequence[Metric]) -> list[str]:
    row, main = rows[name], metrics[0]
    if not values(row, main):
        return [name, row.get("failed", "no result"), *[""] * (len(metrics) + 1)]
    figure = summarise(values(row, main))
    spread = f"{number(figure.low, main.digits)} - {number(figure.high, main.digits)}"
    found = [name, number(figure.median, main.digits), spread, ratio(rows, name, main)]
    for metric in metrics[1:]:
        some = values(row, metric)
        found.append(number(summarise(some).median, metric.digits) if some else "")
    if "failed" in row:
        found[0] += f" ({len(values(row, main))} rounds only: {row['failed']})"
    return found


def table(rows: Rows, metrics: Sequence[Metric]) -> str:
    """One line for each server, in the order of the rows; a column that nobody fills is left out."""
    used = [metrics[0], *(m for m in metrics[1:] if any(values(row, m) for row in rows.values()))]
    direction = "more is better" if used[0].more_is_better else "less is better"
    head = [
        "server",
        f"{used[0].title} ({direction})",
        "min - max",
        "÷ best other",
        *(m.title for m in used[1:]),
    ]
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *(cells(rows, name, used) for name in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shares(rows: Rows, baseline: Rows, metric: Metric) -> str:
    """Each median as a part of the same server's in another table."""
    ours, theirs = medians(rows, metric), medians(baseline, metric)
    return ", ".join(f"{name} {ours[name] / theirs[name]:.2f}" for name in ours if theirs.get(name))
