"""The names that metrics, logs and options are documented with."""

from enum import StrEnum

import pytest

from hsrv.common import terms
from hsrv.common.terms import EndReason, Identity, Role

ENUMS = [value for value in vars(terms).values() if isinstance(value, type) and value.__base__ is StrEnum]


@pytest.mark.parametrize("enum", ENUMS)
def test_a_value_is_its_name_in_lower_case(enum: type[StrEnum]) -> None:
    assert [member.value for member in enum] == [member.name.lower() for member in enum]


def test_all_enums_are_checked() -> None:
    assert {enum.__name__ for enum in ENUMS} >= {"Role", "Preload", "EndReason", "DeathReason", "HeaderMap"}


def test_a_reason_is_found_by_its_text_in_a_dictionary() -> None:
    assert {"completed": 1}.get(EndReason.COMPLETED) == 1
    assert hash(EndReason.COMPLETED) == hash("completed")


def test_a_process_is_named_by_its_role_and_slot_alone() -> None:
    assert Identity(Role.WORKER, 3, 7, leader=True).name == "worker-3"
