"""What the counts of a histogram tell. Pure."""

from collections.abc import Sequence


def quantile(counts: Sequence[int], bounds: Sequence[float], q: float) -> float | None:
    """Below what the share `q` of a histogram lies, as exactly as its buckets tell; None when it is empty.

    `counts` per bucket, one more than there are `bounds`: the last bucket is open, and told by its lower bound.
    """
    rank, below = q * sum(counts), 0
    for n, count in enumerate(counts):
        if count and below + count >= rank:
            low = bounds[n - 1] if n else 0.0
            high = bounds[n] if n < len(bounds) else low
            return low + (high - low) * (rank - below) / count
        below += count
    return None
