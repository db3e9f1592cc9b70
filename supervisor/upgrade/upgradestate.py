"""The messages between the old and the new supervisor of an upgrade. Pure: bytes to struct and back.

They may be of different versions of hsrv, so these messages have a version of their own (PROTOCOL) and are lenient:
fields may be added with a default, and unknown ones are ignored. The messages between other processes are strict
(`hsrv.ipc.messages`), so those are only shared if both sides have the same version.
"""

from typing import Final, TypeVar

import msgspec

from hsrv.ipc import messages
from hsrv.ipc.messages import ListenerInfo, MessageError

PROTOCOL: Final = 1
"""Increased when an older server could no longer understand it. The tags and the names given with `msgspec.field` are
those of version 1."""


class InheritedListener(msgspec.Struct, frozen=True, kw_only=True):
    """One listening socket."""

    name: str
    """As in the descriptor store (`hsrv.system.sdnotify.kept_name`)."""
    info: ListenerInfo
    shared: bool


class ManagerDuties(msgspec.Struct, frozen=True, kw_only=True):
    """What the service manager expects of the main process."""

    notify: str = ""
    watchdog: float = 0.0
    store: bool = False


class UpgradeState(msgspec.Struct, frozen=True, kw_only=True, tag="estate"):
    """Old to new, first packet. Descriptors, in this order: the listeners, `operator_socket` if set, the send and the
    receive end of adopt, the channel to the keeper if `kept`, the file of `hsrv.child.leadership` if `leadership`."""

    protocol: int = PROTOCOL
    messages: int = messages.VERSION
    """Version of the messages in adopt."""
    hsrv: str
    """Version, for messages to people."""
    operation: str = msgspec.field(name="upgrade_id")
    """The id of the upgrade."""
    listeners: tuple[InheritedListener, ...] = msgspec.field(name="heirlooms")
    instead_of_binds: tuple[str, ...] = ()
    operator_socket: ListenerInfo | None = msgspec.field(default=None, name="door")
    kept: bool = False
    generation: int
    """The last number that was used. The new server continues, so that "newer" means the same in both."""
    workers: int | None = None
    """The number that an operator has scaled to; None: as configured."""
    held: bool = False
    leadership: bool = False
    learned: tuple[str, ...] = ()
    duties: ManagerDuties = msgspec.field(default=ManagerDuties(), name="office")

    @property
    def speaks_our_messages(self) -> bool:
        return self.messages == messages.VERSION


class Step(msgspec.Struct, frozen=True, tag="step"):
    """New to old: a step of its start."""

    text: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """New to old: it can't start, and ends."""

    message: str
    traceback: str = ""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """New to old: it serves."""

    adopts: bool
    """It reads the old server's adopt channel."""


class TakeOver(msgspec.Struct, frozen=True, tag="yours"):
    """Old to new: socket files, operators and the service manager are yours from now on."""


ToOld = Step | Failed | Ready
UpgradeMessage = UpgradeState | ToOld | TakeOver


class _Preface(msgspec.Struct, tag="estate"):
    protocol: int


W = TypeVar("W", bound=UpgradeMessage)

_state: "msgspec.msgpack.Decoder[UpgradeState]" = msgspec.msgpack.Decoder(UpgradeState)
_preface: "msgspec.msgpack.Decoder[_Preface]" = msgspec.msgpack.Decoder(_Preface)
_to_old: "msgspec.msgpack.Decoder[ToOld]" = msgspec.msgpack.Decoder(ToOld)


def encode(message: UpgradeMessage) -> bytes:
    return msgspec.msgpack.encode(message)


def decode_state(data: bytes) -> UpgradeState:
    """Raises MessageError for another protocol."""
    try:
        protocol = _preface.decode(data).protocol
        if protocol != PROTOCOL:
            raise MessageError(
                f"the running server speaks version {protocol} of upgrades, this one {PROTOCOL}: restart it instead"
            )
        return _state.decode(data)
    except msgspec.MsgspecError as error:
        raise MessageError(f"the running server's state can't be decoded: {error}") from error


def decode_to_old(data: bytes) -> ToOld:
    """Raises MessageError."""
    try:
        return _to_old.decode(data)
    except msgspec.MsgspecError as error:
        raise MessageError(f"the new server can't be understood: {error}") from error
