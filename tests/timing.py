"""How long the suite takes: seconds and CPU seconds of each layer, at the end of every run.

CPU seconds are those of the tests and of all processes that they have started and that have ended. These are hooks of
pytest, which tests/conftest.py imports. With pytest-xdist each process counts for itself, and the first adds up.
"""

import os
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

SLOWEST: Final = 12
"""Files that are named."""

Times = dict[str, list[float]]
"""By file: tests, seconds, CPU seconds."""

_times: Final[Times] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    began, cpu = time.monotonic(), sum(os.times()[:4])
    try:
        return (yield)
    finally:
        _add(
            _times, {item.nodeid.partition("::")[0]: [1, time.monotonic() - began, sum(os.times()[:4]) - cpu]}
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["hsrv_times"] = _times


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    _add(_times, getattr(node, "workeroutput", {}).get("hsrv_times", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    layers: Times = {}
    for file, times in _times.items():
        _add(layers, {layer_of(file): times})
    if len(_times) > 1:
        for layer, times in sorted(layers.items()):
            terminalreporter.write_line(f"{layer}: {_said(times)}")
        slowest = sorted(_times.items(), key=lambda one: -one[1][2])[:SLOWEST]
        terminalreporter.write_line(
            "most CPU: " + ", ".join(f"{file} {times[2]:.0f} s" for file, times in slowest)
        )


def layer_of(file: str) -> str:
    """The folder of tests/ that it stands in; those beside the folders read sources only."""
    parts = file.split("/")
    return parts[1] if len(parts) > 2 else "sources"


def _add(total: Times, more: Times) -> None:
    for name, values in more.items():
        known = total.setdefault(name, [0, 0.0, 0.0])
        known[:] = [a + b for a, b in zip(known, values, strict=True)]


def _said(times: list[float]) -> str:
    tests, seconds, cpu = times
    return f"{tests:.0f} tests, {seconds:.0f} s, {cpu:.0f} CPU s"
