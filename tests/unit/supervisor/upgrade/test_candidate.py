"""The new server while it starts: its messages and its end."""

import os
import signal

import anyio
import pytest

from hsrv.ipc.channel import Channel, ChannelClosed
from hsrv.ipc.messages import MessageError
from hsrv.supervisor.upgrade.candidate import UpgradeCandidate
from hsrv.supervisor.upgrade.keeper import ReplacementServer
from hsrv.supervisor.upgrade.upgradestate import Failed, Ready, Step, encode


class Pair:
    def __init__(self) -> None:
        ours, self.theirs = Channel.pair()
        self.candidate = UpgradeCandidate(4711, ours, ReplacementServer(4711, None))

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *error: object) -> None:
        self.candidate.close()
        self.theirs.close()


def test_its_messages_are_heard_in_order() -> None:
    with Pair() as pair:
        assert pair.candidate.hear() is None
        pair.theirs.send(encode(Step("imported")))
        pair.theirs.send(encode(Ready(adopts=True)))
        assert pair.candidate.hear() == Step("imported")
        assert pair.candidate.hear() == Ready(adopts=True)


def test_a_message_that_cannot_be_decoded_is_the_reason_of_its_failure() -> None:
    with Pair() as pair:
        pair.theirs.send(b"nonsense")
        with pytest.raises(MessageError) as caught:
            pair.candidate.hear()
        assert anyio.run(pair.candidate.why_lost, caught.value) == Failed(str(caught.value))


def test_a_candidate_that_died_says_how() -> None:
    with Pair() as pair:
        pair.theirs.close()
        with pytest.raises(ChannelClosed) as caught:
            pair.candidate.hear()
        pair.candidate.ended(signal.SIGKILL)
        why = anyio.run(pair.candidate.why_lost, caught.value)
        assert "SIGKILL" in why.message


def test_the_first_known_end_counts() -> None:
    with Pair() as pair:
        pair.candidate.ended(signal.SIGSEGV)
        death = pair.candidate.death
        pair.candidate.vanished()
        assert pair.candidate.death == death != "ended"


def test_one_that_has_ended_is_not_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, signum: signals.append((pid, signum)))
    with Pair() as pair:
        pair.candidate.signal(signal.SIGTERM)
        pair.candidate.vanished()
        pair.candidate.signal(signal.SIGKILL)
    assert signals == [(4711, signal.SIGTERM)], "the pid may be another process's by then"
