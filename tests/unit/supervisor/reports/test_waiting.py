"""What a stop says that it waits for."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from hsrv.options.config import Config
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.settings import settings_of
from hsrv.supervisor.reports.waiting import waiting_for


@dataclass
class Process:
    role: str
    report: Any


def status(*processes: Process) -> Any:
    return SimpleNamespace(generations=[SimpleNamespace(processes=processes)])


def running(number: int) -> Any:
    return SimpleNamespace(running=number)


@pytest.mark.parametrize(
    ("processes", "text"),
    [
        ([], ""),
        ([Process("worker", running(0)), Process("pool", None)], ""),
        ([Process("worker", running(1)), Process("worker", running(2))], "3 requests (at most 30 s)"),
        (
            [Process("worker", running(1)), Process("pool", running(1))],
            "1 request (at most 30 s) and 1 stream (at most 2.5 s)",
        ),
    ],
)
def test_it_counts_requests_and_streams_with_the_time_that_they_have(
    processes: list[Process], text: str
) -> None:
    plan = Plan(settings_of(Config(workers=1, stream_grace=2.5)))
    assert waiting_for(status(*processes), plan) == text
