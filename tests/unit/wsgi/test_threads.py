"""Threads for calls: never more than allowed, jobs in order, streams beside them."""

import threading
from collections.abc import Callable

from hsrv.wsgi.threads import Crew


class Gate:
    """Jobs that say that they have begun, and wait until they may end."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self._news = threading.Condition()
        self._may_end: set[int] = set()

    def job(self, number: int) -> Callable[[], None]:
        def run() -> None:
            with self._news:
                self.began.append(number)
                self._news.notify_all()
                assert self._news.wait_for(lambda: number in self._may_end, 10)

        return run

    def end(self, *numbers: int) -> None:
        with self._news:
            self._may_end |= set(numbers)
            self._news.notify_all()

    def wait(self, *numbers: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.began == list(numbers), 10), self.began


def test_no_more_than_the_limit_and_the_rest_in_order() -> None:
    gate, crew = Gate(), Crew(1, name="test")
    assert [crew.do(gate.job(number)) for number in range(3)] == [True, False, False]
    gate.wait(0)
    gate.end(0)
    gate.wait(0, 1)
    gate.end(1, 2)
    gate.wait(0, 1, 2)


def test_a_job_that_has_not_begun_can_be_withdrawn() -> None:
    gate, crew = Gate(), Crew(1, name="test")
    first, second = gate.job(0), gate.job(1)
    crew.do(first)
    gate.wait(0)
    crew.do(second)
    assert crew.withdraw(second)
    assert not crew.withdraw(second)
    assert not crew.withdraw(first)
    gate.end(0)
    crew.do(gate.job(2))
    gate.wait(0, 2)
    gate.end(2)


def test_a_thread_that_is_lent_makes_room_for_another() -> None:
    gate, crew = Gate(), Crew(1, 1, name="test")
    crew.do(gate.job(0))
    gate.wait(0)
    crew.do(gate.job(1))
    assert crew.lend()
    assert not crew.lend(), "no more than allowed"
    gate.wait(0, 1)
    crew.do(gate.job(2))
    gate.end(0)
    crew.give_back()
    gate.end(1)
    gate.wait(0, 1, 2)
    gate.end(2)
