from hsrv.supervisor.plan.backoff import FIRST_DELAY, LONGEST_DELAY, QUIET_PERIOD, Backoff


def test_the_first_death_is_replaced_at_once() -> None:
    backoff = Backoff()
    assert backoff.delay(0.0) == 0.0
    assert backoff.deaths == 1


def test_the_delay_doubles_from_death_to_death_up_to_the_longest() -> None:
    backoff = Backoff()
    delays = [backoff.delay(now) for now in range(12)]
    assert delays[:5] == [0.0, FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY]
    assert delays[-1] == LONGEST_DELAY
    assert delays == sorted(delays)


def test_a_life_longer_than_the_quiet_period_starts_anew() -> None:
    backoff = Backoff()
    for now in range(5):
        backoff.delay(now)
    assert backoff.delay(4 + QUIET_PERIOD) > 0.0
    assert backoff.delay(4 + QUIET_PERIOD + QUIET_PERIOD + 0.1) == 0.0
    assert backoff.deaths == 1


def test_the_longest_delay_does_not_count_as_a_quiet_life() -> None:
    assert LONGEST_DELAY < QUIET_PERIOD
