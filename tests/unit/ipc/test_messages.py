"""The packets between processes: a message of another shape is of another version."""

from enum import Enum
from hashlib import sha256
from typing import Any, Final

import msgspec
import pytest
from msgspec import inspect

from hsrv.ipc import messages
from hsrv.ipc.messages import VERSION, Adoption, FromTemplate, Handoff, ToTemplate
from hsrv.options.config import Config

SHAPES: Final = {
    1: "b251326494c8999b",
}
"""Digests of what is sent, by VERSION. That of a version which was in a release never changes."""

ADVICE: Final = """\
The shape of a message has changed, and generations of one server may differ in code. In hsrv/ipc/messages.py raise
VERSION to {version}, and in this file add to SHAPES:  {version}: "{digest}"
(If no release has had the present VERSION yet, its digest may be replaced instead.)\
"""

OPAQUE: Final = (Config,)
"""Refuses what it doesn't know and has a default for the rest: a new option needs no new version, and to refuse all
packets of the other side for it would close the connections that an upgrade could keep."""


def shape(kind: inspect.Type, seen: frozenset[type] = frozenset()) -> Any:
    """What of a type is to be seen in a packet: not its docstrings, defaults and the names of its classes."""
    if isinstance(kind, inspect.StructType):
        if kind.cls in OPAQUE or kind.cls in seen:
            return kind.cls.__name__
        fields = [
            (field.encode_name, field.required, shape(field.type, seen | {kind.cls})) for field in kind.fields
        ]
        order = fields if kind.array_like else sorted(fields, key=lambda field: field[0])
        return kind.tag_field, kind.tag, kind.array_like, kind.forbid_unknown_fields, order
    if isinstance(kind, inspect.EnumType):
        return "enum", sorted(repr(member.value) for member in kind.cls)
    if isinstance(kind, inspect.UnionType):
        return "union", sorted(repr(shape(one, seen)) for one in kind.types)
    parts = [
        (name, _part(getattr(kind, name), seen))
        for name in kind.__struct_fields__
        if getattr(kind, name) is not None
    ]
    return type(kind).__name__, parts


def _part(value: object, seen: frozenset[type]) -> Any:
    if isinstance(value, inspect.Type):
        return shape(value, seen)
    if isinstance(value, tuple):
        return [_part(one, seen) for one in value]
    return repr(value)


def digest(*kinds: Any) -> str:
    return sha256(repr([shape(inspect.type_info(kind)) for kind in kinds]).encode()).hexdigest()[:16]


def test_a_message_of_another_shape_is_of_another_version() -> None:
    found = digest(Handoff, Adoption, ToTemplate, FromTemplate)
    assert SHAPES.get(VERSION) == found, ADVICE.format(version=max(SHAPES) + 1, digest=found)
    assert max(SHAPES) == VERSION


def test_every_message_has_the_version() -> None:
    kinds = inspect.multi_type_info((Handoff | Adoption, ToTemplate, FromTemplate))
    for union in kinds:
        assert isinstance(union, inspect.UnionType)
        for kind in union.types:
            assert isinstance(kind, inspect.StructType)
            [version] = [field for field in kind.fields if field.name == "version"]
            assert version.default == VERSION, kind.cls


def test_a_message_of_another_version_is_refused() -> None:
    other = messages.Quit(version=VERSION + 1)
    with pytest.raises(messages.MessageError, match=f"version {VERSION + 1}, expected {VERSION}"):
        messages.decode_to_template(messages.encode(other))
    assert messages.decode_to_template(messages.encode(messages.Quit())) == messages.Quit()


def test_a_configuration_takes_care_of_itself() -> None:
    [kind] = (inspect.type_info(opaque) for opaque in OPAQUE)
    assert isinstance(kind, inspect.StructType)
    assert kind.forbid_unknown_fields
    assert [field.name for field in kind.fields if field.required] == []


# what makes another shape


class Colour(Enum):
    RED = "red"


class Darker(Enum):
    RED = "red"
    BLACK = "black"


class Inner(msgspec.Struct, array_like=True):
    one: int
    two: str


class Turned(msgspec.Struct, array_like=True):
    two: str
    one: int


class Named(msgspec.Struct):
    one: int
    two: str


def message(fields: list[Any], **options: Any) -> str:
    return digest(msgspec.defstruct("Message", fields, **{"tag": "message", **options}))


BASE: Final[list[Any]] = [("n", int), ("path", str), ("inner", tuple[Inner, ...]), ("colour", Colour)]


def changed(name: str, kind: Any) -> list[Any]:
    return [(name, kind) if field[0] == name else field for field in BASE]


@pytest.mark.parametrize(
    "other",
    [
        message([*BASE, ("more", int, 0)]),
        message(BASE[:-1]),
        message([("m", int), *BASE[1:]]),
        message(changed("n", float)),
        message(changed("n", int | None)),
        message(changed("path", bytes)),
        message(changed("colour", Darker)),
        message([("n", int, 0), *BASE[1:]], kw_only=True),
        message(changed("inner", tuple[Turned, ...])),
        message(changed("inner", tuple[Named, ...])),
        message(BASE, tag="other"),
        message(BASE, tag_field="kind"),
        message(BASE, array_like=True),
        message(BASE, forbid_unknown_fields=True),
        message(BASE, rename={"n": "number"}),
    ],
)
def test_what_another_process_would_read_otherwise_is_another_shape(other: str) -> None:
    assert other != message(BASE)


@pytest.mark.parametrize(
    "same",
    [
        message(BASE[::-1]),
        message(BASE, namespace={"__doc__": "Says more.", "half": lambda message: message.n / 2}),
        message(BASE, frozen=True),
        digest(msgspec.defstruct("Renamed", BASE, tag="message")),
    ],
)
def test_what_nobody_can_see_in_a_packet_is_not(same: str) -> None:
    assert same == message(BASE)
