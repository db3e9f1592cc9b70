"""What operators have asked for and is under way: its steps and its end, for whoever follows."""

import secrets
from collections.abc import Awaitable, Callable

import anyio

from hsrv.supervisor.plan.actions import ForPeople, OperationEnded, OperationStep


def new_id() -> str:
    """Names one operation in every process's log."""
    return secrets.token_hex(6)


class Operation:
    """One of them."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.error = ""
        """Why it failed; "" when it didn't, or isn't over."""
        self.traceback = ""
        self._steps: list[str] = []
        self._over = False
        self._news = anyio.Event()

    @property
    def is_over(self) -> bool:
        return self._over

    def step(self, step: str) -> None:
        self._steps.append(step)
        self._tell()

    def end(self, error: str, traceback: str) -> None:
        self.error, self.traceback, self._over = error, traceback, True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def follow(self, on_step: Callable[[str], Awaitable[None]]) -> None:
        """Until its end; `on_step` hears also what came before."""
        told = 0
        while True:
            news = self._news
            while told < len(self._steps):
                told += 1
                await on_step(self._steps[told - 1])
            if self._over:
                return
            if news is self._news:
                await news.wait()


class Operations:
    """All that are not over, by id."""

    def __init__(self) -> None:
        self._open: dict[str, Operation] = {}

    def open(self, id_: str) -> Operation:
        """The one with this id, begun now if it isn't there."""
        return self._open.setdefault(id_, Operation(id_))

    def hear(self, report: ForPeople) -> None:
        if isinstance(report, OperationStep):
            self.step(report.operation, report.step)
        elif isinstance(report, OperationEnded):
            self.end(report.operation, report.error, report.traceback)

    def step(self, id_: str, step: str) -> None:
        if id_ in self._open:
            self._open[id_].step(step)

    def end(self, id_: str, error: str, traceback: str) -> None:
        """It is over; nobody need follow it."""
        operation = self._open.pop(id_, None)
        if operation is not None:
            operation.end(error, traceback)
