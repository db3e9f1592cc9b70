"""Quantiles of a histogram. Pure."""

from collections.abc import Sequence


def quantile(counts: Sequence[int], bounds: Sequence[float], q: float) -> float | None:
    """The quantile `q` of a histogram, as exactly as its buckets allow; None when it is empty.

    `counts` per bucket, one more than there are `bounds`: for the last bucket, which is open, its lower bound.
    """
    rank, below = q * sum(counts), 0
    for n, count in enumerate(counts):
        if count and below + count >= rank:
            low = bounds[n - 1] if n else 0.0
            high = bounds[n] if n < len(bounds) else low
            return low + (high - low) * (rank - below) / count
        below += count
    return None
