"""When a pool accepts what workers don't."""

import pytest

from hsrv.asyncpool.patience import BUSY, FORGET, MOST, NEVER, NOW, PATIENCE, Patience


def test_nothing_is_due_while_nothing_waits() -> None:
    assert Patience().look(5.0, 0.0, waits=False) == NEVER


def test_what_waits_is_accepted_when_no_worker_has_for_a_while() -> None:
    patience = Patience()
    assert patience.look(5.0, 1.0, waits=True) == pytest.approx(PATIENCE)
    assert patience.look(5.0 + PATIENCE / 2, 1.0, waits=True) == pytest.approx(PATIENCE / 2)
    assert patience.look(5.0 + PATIENCE, 1.0, waits=True) == NOW


def test_while_workers_accept_they_are_left_alone() -> None:
    patience = Patience()
    patience.look(4.0, 0.0, waits=True)
    for number in range(100):
        now = 5.0 + number * PATIENCE
        assert patience.look(now, now - PATIENCE / 4, waits=True) == pytest.approx(PATIENCE * 3 / 4)


def test_what_is_left_of_a_batch_is_accepted_at_once() -> None:
    patience = Patience()
    patience.look(5.0, 0.0, waits=True)
    assert patience.look(5.0 + PATIENCE, 0.0, waits=True) == NOW
    assert patience.look(5.001 + PATIENCE, 0.0, waits=True) == NOW


def test_after_an_empty_queue_the_patience_begins_anew() -> None:
    patience = Patience()
    patience.look(5.0, 0.0, waits=True)
    patience.look(6.0, 0.0, waits=False)
    assert patience.look(7.0, 0.0, waits=True) == pytest.approx(PATIENCE)


def test_while_workers_accept_it_looks_regularly_and_is_woken_by_nothing() -> None:
    patience = Patience()
    assert patience.look(5.0, 5.0 - BUSY / 2, waits=False) == PATIENCE
    assert patience.look(5.0, 5.0 - 2 * BUSY, waits=False) == NEVER


def test_where_workers_were_free_and_got_no_cpu_it_waits_longer_for_a_while() -> None:
    patience = Patience()
    patience.passed_on(4.9, taken=True)
    assert patience.look(5.0, 0.0, waits=True) == pytest.approx(MOST)
    assert patience.look(4.9 + FORGET, 0.0, waits=True) == NOW
    patience.look(6.0, 0.0, waits=False)
    assert patience.look(6.0, 0.0, waits=True) == pytest.approx(PATIENCE)


def test_where_what_was_passed_on_still_waits_it_does_not() -> None:
    patience = Patience()
    patience.passed_on(4.9, taken=True)
    patience.passed_on(4.95, taken=False)
    assert patience.look(5.0, 0.0, waits=True) == pytest.approx(PATIENCE)
