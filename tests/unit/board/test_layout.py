"""The parts of a scoreboard don't overlap, and its buckets are where the writer puts values."""

import itertools

import pytest

from hsrv.board import layout
from hsrv.board.layout import BOUNDS, BUCKETS, CLASSES, REQUEST, Count, Gauge, Histogram
from hsrv.board.scoreboard import bucket_of
from hsrv.common.terms import EndReason


def test_the_numbers_follow_each_other_without_an_overlap() -> None:
    sections = [
        (layout.GAUGES_AT, len(Gauge)),
        (layout.COUNTS_AT, len(Count)),
        (layout.ENDS_AT, len(EndReason)),
        (layout.STREAM_ENDS_AT, len(EndReason)),
        (layout.DURATION_AT, len(CLASSES) * BUCKETS),
        (layout.HISTOGRAMS_AT, len(Histogram) * BUCKETS),
        (layout.DURATION_SUMS_AT, len(CLASSES)),
        (layout.HISTOGRAM_SUMS_AT, len(Histogram)),
        (layout.TOTALS_END, 0),
    ]
    for (begin, size), (following, _) in itertools.pairwise(sections):
        assert begin + size <= following


def test_the_requests_and_the_note_follow_the_numbers() -> None:
    begins = [layout.CURRENT, layout.OLDEST, layout.STALLED, layout.STUCK, layout.NOTE]
    assert begins[0] == layout.TOTALS_END * layout.WORD
    assert all(after - before == REQUEST.size for before, after in itertools.pairwise(begins))
    assert layout.NOTE + layout.NOTE_SIZE <= layout.SIZE


@pytest.mark.parametrize("bucket", range(BUCKETS - 1))
def test_a_value_just_below_a_bound_is_in_its_bucket_and_the_bound_in_the_next(bucket: int) -> None:
    assert bucket_of(BOUNDS[bucket] * 0.999) == bucket
    assert bucket_of(BOUNDS[bucket] * 1.001) == bucket + 1
