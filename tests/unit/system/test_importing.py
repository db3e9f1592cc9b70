"""The collector while a process imports, and what it doesn't import."""

import gc
import importlib
import sys
from collections.abc import Iterator

import pytest

from hsrv.system.importing import THRESHOLD, few_collections, without


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_within_it_collections_are_rare_and_afterwards_as_before() -> None:
    gc.set_threshold(601, 7, 8)
    with few_collections():
        assert gc.get_threshold()[0] == THRESHOLD
    assert gc.get_threshold()[0] == 601


def test_a_threshold_that_the_application_sets_stays() -> None:
    with few_collections():
        gc.set_threshold(5000)
    assert gc.get_threshold()[0] == 5000
    gc.set_threshold(700, 10, 10)
    with few_collections():
        gc.set_threshold(gc.get_threshold()[0], 50, 60)
    assert gc.get_threshold()[1:] == (50, 60)


def test_also_after_a_failure_all_is_as_before() -> None:
    gc.set_threshold(602, 7, 8)
    with pytest.raises(ImportError), few_collections():
        raise ImportError
    assert gc.get_threshold()[0] == 602


def test_a_module_can_be_left_out_of_imports_unless_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nturl2path", raising=False)
    with without("nturl2path"), pytest.raises(ImportError):
        importlib.import_module("nturl2path")
    importlib.import_module("nturl2path")
    with without("nturl2path"):
        importlib.import_module("nturl2path")
