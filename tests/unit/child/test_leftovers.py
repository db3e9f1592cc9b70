"""Whose orphans are, and which of them are left behind."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from hsrv.child.leftovers import Leftovers, Orphans
from hsrv.system.platform import be_no_subreaper


def orphans(present: set[int], owners: set[int]) -> Orphans:
    found = Orphans()
    found.seen(present, owners)
    return found


def test_what_is_new_when_a_process_has_ended_was_its_own() -> None:
    found = orphans(set(), {1, 2})
    found.seen({10}, found.owners([1]))
    found.ended([1])
    assert found.left_behind() == [10]


def test_what_was_there_before_may_be_of_any_that_lived_then() -> None:
    found = orphans({10}, {1, 2})
    found.seen({10, 11}, found.owners([1]))
    found.ended([1])
    assert found.left_behind() == [11]
    found.seen({10, 11}, {3})
    found.ended([2])
    assert found.left_behind() == [10, 11]


def test_what_an_orphan_leaves_belongs_to_whom_it_belonged_to() -> None:
    found = orphans({10}, {1})
    theirs = found.owners([10])
    found.seen({11}, theirs)
    found.ended([10])
    assert found.left_behind() == []
    found.ended([1])
    assert found.left_behind() == [11]


def test_one_that_is_left_behind_stays_so() -> None:
    found = orphans({10}, set())
    found.seen({10}, {1})
    assert found.left_behind() == [10]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has no list of children")
def test_what_an_import_has_started_ends_with_the_template_and_not_before() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command) as ours, subprocess.Popen(command, start_new_session=True) as other:
        known = {child.pid for child in psutil.Process().children()} - {ours.pid, other.pid}
        leftovers = Leftovers()
        try:
            leftovers.adopt()
            leftovers.look(known | {other.pid, 1}, [])
            leftovers.look(known | {other.pid}, [1])
            assert ours.poll() is None
            assert leftovers.end(known)
            assert ours.wait(10) == -signal.SIGTERM
            assert not leftovers.end(known)
            assert other.poll() is None
        finally:
            be_no_subreaper()
            for process in (ours, other):
                process.kill()


def test_nothing_is_seen_where_the_system_has_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 0)
    leftovers = Leftovers()
    leftovers.adopt()
    assert not leftovers.end(set())
