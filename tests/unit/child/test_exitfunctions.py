"""The end of a process whose exit functions take too long."""

import os
import subprocess
import sys

import pytest

CODE = """
import atexit, sys, time
from hsrv.child import exitfunctions
from hsrv.common.terms import Identity, Role
from hsrv.logs import logging
from hsrv.options.config import Config
logging.setup(Config(), Identity(Role.WORKER, 1, 1))
exitfunctions.LEAST = 0.05
{first}
sys.stdout.write("printed")
atexit.register(time.sleep, 30)
exitfunctions.run_exit_functions(0.0, 7)
"""


@pytest.mark.parametrize("first", ["", "sys.stderr = None"])
def test_what_was_printed_is_written_when_exit_functions_time_out(first: str) -> None:
    command = [sys.executable, "-c", CODE.format(first=first)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=buffered)
    assert (done.returncode, done.stdout) == (7, "printed")
