"""From samples to figures. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    median: float
    low: float
    high: float
    rounds: int


def summarise(values: Sequence[float]) -> Summary:
    return Summary(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank: a value that was really measured."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def best(medians: Mapping[str, float], more_is_better: bool) -> str | None:
    """Whose median is best."""
    if not medians:
        return None
    choose = max if more_is_better else min
    return choose(medians, key=lambda name: medians[name])


def to_best_other(medians: Mapping[str, float], name: str, more_is_better: bool) -> float | None:
    """This one's median over the best among the others. None: nobody to compare with, or nothing to divide by."""
    others = {other: value for other, value in medians.items() if other != name}
    champion = best(others, more_is_better)
    if champion is None or name not in medians or not others[champion]:
        return None
    return medians[name] / others[champion]
