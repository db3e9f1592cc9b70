"""Operations in progress: their steps and their end, for those that wait for them."""

import secrets
from collections.abc import Awaitable, Callable

import anyio

from hsrv.supervisor.plan.actions import OperationEnded, OperationStep, Report


def new_id() -> str:
    """An id for an operation, in the log of every process."""
    return secrets.token_hex(6)


class Operation:
    """One operation."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.error = ""
        """Why it failed; "" if it succeeded, or has not ended."""
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
        """Wait for its end; `on_step` also gets the steps that came before."""
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
    """All operations in progress, by id."""

    def __init__(self) -> None:
        self._open: dict[str, Operation] = {}

    def open(self, id_: str) -> Operation:
        """The operation with this id; a new one if there is none."""
        return self._open.setdefault(id_, Operation(id_))

    def hear(self, report: Report) -> None:
        if isinstance(report, OperationStep):
            self.step(report.operation, report.step)
        elif isinstance(report, OperationEnded):
            self.end(report.operation, report.error, report.traceback)

    def step(self, id_: str, step: str) -> None:
        if id_ in self._open:
            self._open[id_].step(step)

    def end(self, id_: str, error: str, traceback: str) -> None:
        """It has ended."""
        operation = self._open.pop(id_, None)
        if operation is not None:
            operation.end(error, traceback)
