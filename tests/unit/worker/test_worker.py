"""What a worker decides by itself, without a server around it."""

from hsrv.worker import worker


def test_the_life_of_a_worker_is_spread_over_its_jitter() -> None:
    """Or all of them would be replaced at the same time."""
    lives = [worker._life(1000, 100) for _ in range(300)]
    assert min(lives) >= 1000
    assert max(lives) <= 1100
    assert len(set(lives)) > 20
    assert max(lives) - min(lives) > 50
    assert {worker._life(1000, 0) for _ in range(20)} == {1000}
    assert {worker._life(0, 100) for _ in range(20)} == {0}, "without a limit there is none"
