"""Collectors: found, made, fed and closed, each fault with those who made it."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import hsrv
from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Identity, Role
from hsrv.events import ConnectionClosed, ConnectionParked, Event, Source, collectors
from hsrv.events import types as events
from hsrv.events.collectors import Collectors

WORKER = Source(Role.WORKER, 2, 7, 4242)
PARKED = ConnectionParked(1.0, 2.0, WORKER, connection="c1")
CLOSED = ConnectionClosed(3.0, 4.0, WORKER, connection="c1", reason="completed", requests=5)


class Keeper:
    def __init__(self) -> None:
        self.kept: list[Event] = []

    def collect(self, event: Event) -> None:
        self.kept.append(event)


class Raiser:
    def collect(self, event: Event) -> None:
        raise RuntimeError("no")

    def close(self) -> None:
        raise SystemExit


class Hanging(Keeper):
    def __init__(self) -> None:
        super().__init__()
        self.closes = threading.Event()
        self.end = threading.Event()

    def close(self) -> None:
        self.closes.set()
        self.end.wait(20)


@pytest.fixture(autouse=True)
def unsubscribed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(events, "_subscribed", [])
    collectors.plugins.cache_clear()
    yield
    collectors.plugins.cache_clear()


def test_an_event_as_json_names_itself_and_its_process() -> None:
    assert msgspec.json.decode(msgspec.json.encode(CLOSED)) == {
        "type": "ConnectionClosed",
        "at": 3.0,
        "clock": 4.0,
        "source": {"role": "worker", "slot": 2, "generation": 7, "pid": 4242},
        "connection": "c1",
        "reason": "completed",
        "requests": 5,
    }


def test_one_that_raises_costs_nobody_else_anything() -> None:
    keeper = Keeper()
    both = Collectors(WORKER, [("bad", Raiser()), ("good", keeper)])
    for event in (PARKED, PARKED, CLOSED, PARKED):
        both.emit(event)
    assert keeper.kept == [PARKED, PARKED, CLOSED, PARKED]


def test_one_that_raises_is_logged_once_per_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []

    class Log:
        def error(self, event: str, **details: object) -> None:
            said.append((str(details["collector"]), str(details["at"])))

    monkeypatch.setattr(collectors, "log", Log())
    bad = Collectors(WORKER, [("bad", Raiser())])
    for event in (PARKED, PARKED, CLOSED, PARKED):
        bad.emit(event)
    bad.close()
    assert said == [("bad", "ConnectionParked"), ("bad", "ConnectionClosed"), ("bad", "close")]


def test_one_that_does_not_close_is_waited_for_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectors, "CLOSE_TIMEOUT", 0.2)
    hanging, other = Hanging(), Hanging()
    other.end.set()
    begun = time.monotonic()
    Collectors(WORKER, [("hangs", hanging), ("none", Keeper()), ("other", other)]).close()
    assert 0.2 <= time.monotonic() - begun < 10
    assert other.closes.is_set(), "it has not waited behind the one that hangs"
    hanging.end.set()


def test_connections_are_named_apart_in_all_processes() -> None:
    two = [Collectors(WORKER, [("", Keeper())]) for _ in range(2)]
    assert len({one.new_connection() for one in two for _ in range(100)}) == 200


def test_the_application_subscribes_once_and_says_where() -> None:
    made: list[Source] = []

    @hsrv.subscribe
    def factory(source: Source) -> Keeper | None:
        made.append(source)
        return Keeper() if source.role is Role.POOL else None

    hsrv.subscribe(factory)
    assert collectors.of_child(Identity(Role.WORKER, 1, 3), []) is None
    assert collectors.of_child(Identity(Role.POOL, 1, 3), []) is not None
    assert [(source.role, source.slot, source.generation) for source in made] == [
        ("worker", 1, 3),
        ("pool", 1, 3),
    ]


def test_without_anybody_there_are_no_collectors() -> None:
    assert collectors.of_child(Identity(Role.WORKER, 1, 1), []) is None


def test_a_plug_in_is_heard_by_being_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_plugin.py").write_text(
        "def make(source):\n    return Keeper()\n\nfrom tests.unit.events.test_collectors import Keeper\n"
    )
    folder = tmp_path / "a_plugin-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: a-plugin\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[hsrv.collectors]\nsome = a_plugin:make\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [plugin.name for plugin in collectors.plugins()] == ["some"]
    assert collectors.of_child(Identity(Role.WORKER, 1, 1), []) is not None
    (folder / "entry_points.txt").write_text("[hsrv.collectors]\nsome = a_plugin:nothing\n")
    collectors.plugins.cache_clear()
    with pytest.raises(AppLoadError, match=r"a_plugin:nothing \(installed: entry point some\)"):
        collectors.of_child(Identity(Role.WORKER, 1, 1), [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module:make", "collector no_such_module:make: ModuleNotFoundError"),
        ("json:nothing", "collector json:nothing: AttributeError"),
        ("sys:path", "collector sys:path: list can't be called"),
        ("hsrv.events:Source", "collector hsrv.events:Source: TypeError"),
        ("operator:not_", "False has no method collect"),
    ],
)
def test_what_is_named_wrongly_is_an_error_of_the_start(text: str, message: str) -> None:
    with pytest.raises(AppLoadError, match="collector") as caught:
        collectors.of_child(Identity(Role.WORKER, 1, 1), [text])
    assert message in str(caught.value)


def test_a_fault_of_a_factory_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_one.py").write_text("def make(source):\n    raise ValueError('mine')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AppLoadError, match="ValueError: mine") as caught:
        collectors.of_child(Identity(Role.WORKER, 1, 1), ["broken_one:make"])
    assert "broken_one.py" in caught.value.traceback
    assert "broken_one" in sys.modules
