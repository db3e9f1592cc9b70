"""What a drain of a pool does at which age."""

import pytest

from hsrv.asyncpool.drainplan import DrainSteps, lot_of, steps
from hsrv.options.stopbudget import END_SPREAD


@pytest.mark.parametrize(
    ("age", "grace", "graceful", "unanswered", "expected"),
    [
        (0.0, 10.0, 5.0, False, DrainSteps(0.0, False, False)),
        (9.9, 10.0, 5.0, False, DrainSteps(0.0, False, False)),
        (10.0, 10.0, 5.0, False, DrainSteps(0.0, True, False)),
        (11.0, 10.0, 5.0, False, DrainSteps(0.5, True, False)),
        (12.0, 10.0, 5.0, False, DrainSteps(1.0, True, False)),
        (14.0, 10.0, 5.0, False, DrainSteps(1.0, True, True)),
        (0.0, 0.0, 30.0, False, DrainSteps(1.0, False, False)),
        (27.9, 0.0, 30.0, True, DrainSteps(1.0, False, False)),
        (28.0, 0.0, 30.0, True, DrainSteps(1.0, True, False)),
        (30.0, 0.0, 30.0, True, DrainSteps(1.0, True, True)),
        (2.0, 0.0, 30.0, False, DrainSteps(1.0, False, True)),
    ],
)
def test_streams_end_after_their_grace_and_requests_after_theirs(
    age: float, grace: float, graceful: float, unanswered: bool, expected: DrainSteps
) -> None:
    assert END_SPREAD == 2.0
    found = steps(
        age, stream_grace=grace, graceful_timeout=graceful, end_timeout=2.0, any_unanswered=unanswered
    )
    assert found == expected


def test_a_stream_keeps_its_lot_and_lots_are_spread() -> None:
    streams = [object() for _ in range(1000)]
    lots = [lot_of(stream) for stream in streams]
    assert lots == [lot_of(stream) for stream in streams]
    assert all(0 < lot <= 1 for lot in lots)
    assert 300 < sum(lot <= 0.5 for lot in lots) < 700
