"""What collectors of the supervisor hear of a whole life, in memory."""

from collections import Counter

from hsrv.common.terms import DeathReason, Identity, Role
from hsrv.events.collectors import make
from hsrv.events.types import (
    Event,
    ReloadFinished,
    ReloadStarted,
    ServerStopping,
    Source,
    WorkerDied,
    WorkerEnded,
    WorkerStarted,
)
from hsrv.supervisor.observed import Observer
from hsrv.supervisor.runtime.reports import ProcessReaped, ProcessStarted
from tests.unit.supervisor.inmemory import InMemory


class Collector:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def collect(self, event: Event) -> None:
        self.events.append(event)


def observed() -> tuple[Observer, Collector]:
    collector = Collector()
    collectors = make(Source(Role.SUPERVISOR, 0, 0, 1), [("test", lambda source: collector)])
    assert collectors is not None
    return Observer(collectors), collector


def test_every_process_that_started_ends_in_one_event() -> None:
    server = InMemory()
    observer, collector = observed()
    server.told.stream.listen(observer.hear)
    server.serve()
    server.hands.ends(server.who("worker-1"), "was killed by SIGKILL")
    server.run(60)
    server.reload("r1")
    server.reload("r2")
    server.run(60)
    server.stop()
    server.run(60)
    server.check_over()
    kinds = Counter(type(event) for event in collector.events)
    assert kinds[WorkerStarted] == kinds[WorkerDied] + kinds[WorkerEnded] == 10
    assert kinds[WorkerDied] == 1
    assert kinds[ServerStopping] == 1
    reloads = [one for one in collector.events if isinstance(one, ReloadStarted | ReloadFinished)]
    assert [(type(one), one.reload) for one in reloads] == [
        (ReloadStarted, "r1"),
        (ReloadStarted, "r2"),
        (ReloadFinished, "r1"),
        (ReloadFinished, "r2"),
    ]


def test_one_that_the_plan_has_given_up_has_died_when_it_is_reaped() -> None:
    observer, collector = observed()
    identity = Identity(Role.WORKER, 1, 1)
    observer.hear(ProcessStarted(identity, 7))
    for _ in range(2):
        observer.hear(ProcessReaped(identity, 7, DeathReason.EXIT, "exited with code 0", expected=False))
    assert [type(event) for event in collector.events] == [WorkerStarted, WorkerDied]
