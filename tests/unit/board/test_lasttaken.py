"""What a child writes is what the others read."""

import os

from hsrv.board.lasttaken import LastTaken


def test_nothing_was_taken_yet() -> None:
    last = LastTaken()
    assert (last.accepted_at, last.adopted_at) == (0.0, 0.0)


def test_processes_that_are_forked_share_it() -> None:
    last = LastTaken()
    pid = os.fork()
    if pid == 0:
        last.accepted_at = 17.25
        last.adopted_at = 18.5
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (last.accepted_at, last.adopted_at) == (17.25, 18.5)
