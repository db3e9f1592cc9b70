"""Switches of the test suite. Taken out of the environment: the server refuses HSRV_ variables that are no option."""

import os


def switch(name: str, default: str) -> str:
    """Its value, also in the processes that pytest-xdist starts after we took it."""
    value = os.environ.pop(f"HSRV_{name}", None) or os.environ.get(name, default)
    os.environ[name] = value
    return value


LONG = switch("TEST_LONG", "") == "1"
"""HSRV_TEST_LONG=1: what is tried a few thousand times is tried a million times."""

PARSER = switch("TEST_PARSER", "auto")
"""HSRV_TEST_PARSER=h11: the integration tests run with that parser of request heads."""

UPGRADES = int(switch("TEST_UPGRADES", "2"))
"""HSRV_TEST_UPGRADES=20: so many upgrades in a row under load."""

SCREENSHOTS = switch("TEST_SCREENSHOTS", "")
"""HSRV_TEST_SCREENSHOTS=DIR: where screenshots of the dashboard go; else into the test's own folder."""

CONNECTIONS = int(switch("TEST_CONNECTIONS", "10000" if LONG else "3000"))
"""HSRV_TEST_CONNECTIONS=N: how many are followed from their first event to their last."""
