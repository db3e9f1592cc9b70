"""Actions and the operation that they belong to."""

from collections.abc import Iterator

from hsrv.common.terms import Preload
from hsrv.supervisor.plan.actions import (
    MoveHandoffs,
    OperationEnded,
    OperationStep,
    SpawnTemplate,
    StopListening,
    ended,
    part_of,
    step,
)


def test_an_action_gets_the_operation_unless_it_has_one() -> None:
    steps = [
        SpawnTemplate(generation=2, preload=Preload.AUTO),
        MoveHandoffs(generation=1, operation="other"),
        StopListening(),
    ]
    assert [action.operation for action in part_of("r-1", steps)] == ["r-1", "other", "r-1"]
    assert [action.operation for action in part_of("", steps)] == ["", "other", ""]


def test_the_operation_is_all_that_changes() -> None:
    action = SpawnTemplate(generation=2, preload=Preload.LIBRARIES)
    (found,) = part_of("r-1", [action])
    assert found == SpawnTemplate(generation=2, preload=Preload.LIBRARIES, operation="r-1")
    assert action.operation == ""


def test_each_action_is_taken_before_the_next_is_created() -> None:
    order: list[str] = []

    def steps() -> Iterator[StopListening]:
        for name in ("first", "second"):
            order.append(f"create {name}")
            yield StopListening()

    for _ in part_of("r-1", steps()):
        order.append("take")  # noqa: PERF401  # the order is the point
    assert order == ["create first", "take", "create second", "take"]


def test_a_step_and_an_end_are_reported_only_of_an_operation() -> None:
    assert list(step("", "text")) == []
    assert list(ended("", "error")) == []
    assert list(step("r-1", "text")) == [OperationStep("text", operation="r-1")]
    assert list(ended("r-1", "error", "Traceback")) == [OperationEnded("error", "Traceback", operation="r-1")]
    assert list(ended("r-1")) == [OperationEnded(operation="r-1")], "without an error it succeeded"
