import os
import subprocess
import sys

import pytest

from hsrv.common.errors import ExitCode, PlatformError
from hsrv.system.platform import check_supported


def test_this_system_is_supported() -> None:
    check_supported()


@pytest.mark.parametrize("name", ["win32", "cygwin", "emscripten"])
def test_other_systems_are_refused_with_a_way_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", name)
    with pytest.raises(PlatformError, match=f"not {name}.*container") as refused:
        check_supported()
    assert refused.value.exit_code is ExitCode.PLATFORM


ADOPTS = """
import os
from hsrv.system.platform import become_subreaper
assert become_subreaper()
read, write = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(write)
        os.read(read, 1)  # until the parent is gone
        os._exit(7)
    os._exit(0)
os.wait()
os.close(write)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_a_subreaper_gets_its_orphaned_grandchildren() -> None:
    command = [sys.executable, "-c", ADOPTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, env=os.environ)
    assert done.stdout == "7\n"
