"""Switches of the test suite. Taken out of the environment: the server refuses HSRV_ variables that are no option."""

import compileall
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsrv.logs import floods
from tests.timing import (  # noqa: F401  # hooks of pytest
    pytest_runtest_protocol,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

ROOT = Path(__file__).parent.parent


def switch(name: str, default: str) -> str:
    """Its value, also in the processes that pytest-xdist starts after we took it."""
    value = os.environ.pop(f"HSRV_{name}", None) or os.environ.get(name, default)
    os.environ[name] = value
    return value


LONG = switch("TEST_LONG", "") == "1"
"""HSRV_TEST_LONG=1: what is tried a few thousand times is tried a million times."""

PARSER = switch("TEST_PARSER", "auto")
"""HSRV_TEST_PARSER=h11: the integration tests run with that parser of request heads."""

OF_A_WHEEL = switch("TEST_OF_A_WHEEL", "") == "1"
"""HSRV_TEST_OF_A_WHEEL=1: a compiled wheel is tested, not the checkout (make test-compiled)."""

UPGRADES = int(switch("TEST_UPGRADES", "2"))
"""HSRV_TEST_UPGRADES=20: so many upgrades in a row under load."""

SCREENSHOTS = switch("TEST_SCREENSHOTS", "")
"""HSRV_TEST_SCREENSHOTS=DIR: where screenshots of the dashboard go; else into the test's own folder."""

CONNECTIONS = int(switch("TEST_CONNECTIONS", "10000" if LONG else "1500"))
"""HSRV_TEST_CONNECTIONS=N: how many are followed from their first event to their last."""


def pytest_configure(config: pytest.Config) -> None:
    """What hundreds of servers import is compiled once: where PYTHONDONTWRITEBYTECODE is set, none would keep it."""
    if not hasattr(config, "workerinput"):  # in the process that starts those of pytest-xdist
        for folder in ("hsrv", "hsrv/supervisor", "hsrv/worker", "hsrv/asyncpool", "tests/apps"):
            compileall.compile_dir(ROOT / folder, quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The same for the tests themselves. Not for what they import later: they save applications twice in a second."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


@pytest.fixture(autouse=True)
def nothing_was_told_yet() -> None:
    """What one test has provoked must not keep a line from the log of the next."""
    floods.forget()


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> None:
    """A shell starts its background jobs with these ignored, and so would be every server that we start."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
