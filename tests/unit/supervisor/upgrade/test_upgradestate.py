"""What two supervisors of different versions understand of each other."""

import msgspec
import pytest

from hsrv.ipc import messages
from hsrv.ipc.messages import ListenerInfo, MessageError
from hsrv.supervisor.upgrade.upgradestate import (
    PROTOCOL,
    Failed,
    InheritedListener,
    ManagerDuties,
    Ready,
    Step,
    TakeOver,
    ToOld,
    UpgradeState,
    decode_state,
    decode_to_old,
    encode,
)

STATE = UpgradeState(
    hsrv="0.1.0",
    operation="abc",
    listeners=(
        InheritedListener(name="n", info=ListenerInfo(url="u", address=("h", 1), unix_inode=3), shared=True),
    ),
    instead_of_binds=("web",),
    operator_socket=ListenerInfo(url="unix:/d", address=("/d", None), unix_inode=4),
    kept=True,
    generation=7,
    workers=3,
    held=True,
    learned=("/a/*",),
    duties=ManagerDuties(notify="@n", watchdog=3.0, store=True),
)


def test_an_estate_arrives_whole() -> None:
    assert decode_state(encode(STATE)) == STATE
    assert STATE.speaks_our_messages


def test_the_names_on_the_wire_are_those_of_the_protocol() -> None:
    """A server of another version reads them: a field may be added, with a default, and none renamed."""
    names = (
        "type protocol messages hsrv upgrade_id heirlooms instead_of_binds door kept generation workers held "
    )
    assert set(msgspec.msgpack.decode(encode(STATE))) == {*names.split(), "leadership", "learned", "office"}


@pytest.mark.parametrize("word", [Step("a"), Failed("b", "c"), Ready(adopts=True)])
def test_answers_arrive_whole(word: ToOld) -> None:
    assert decode_to_old(encode(word)) == word


def changed(**values: object) -> bytes:
    return msgspec.msgpack.encode({**msgspec.to_builtins(STATE), **values})


def test_fields_of_a_later_version_are_ignored() -> None:
    assert decode_state(changed(of_tomorrow=1)) == STATE


def test_other_messages_are_known_before_any_is_read() -> None:
    assert not decode_state(changed(messages=messages.VERSION + 1)).speaks_our_messages


def test_another_protocol_is_not_read_further() -> None:
    with pytest.raises(
        MessageError, match=f"version {PROTOCOL + 1} of upgrades, this one {PROTOCOL}: restart"
    ):
        decode_state(changed(protocol=PROTOCOL + 1, heirlooms="of another shape"))


@pytest.mark.parametrize(
    "data", [b"", b"\xff", encode(TakeOver()), changed(heirlooms=1), changed(generation=None)]
)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_state(data)


@pytest.mark.parametrize("data", [b"", b"\xff", encode(TakeOver()), encode(STATE)])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_to_old(data)
