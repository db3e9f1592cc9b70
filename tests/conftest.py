"""Switches of the test suite. Taken out of the environment: the server refuses HSRV_ variables that are no option."""

import os

LONG = os.environ.pop("HSRV_TEST_LONG", "") == "1"
"""HSRV_TEST_LONG=1: what is tried a few thousand times is tried a million times."""

PARSER = os.environ.pop("HSRV_TEST_PARSER", "auto")
"""HSRV_TEST_PARSER=h11: the integration tests run with that parser of request heads."""
