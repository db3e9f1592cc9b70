"""The real hands, loop and plan, with templates that are no processes: what they fork are real handles, and a test
speaks for the child at the other end of its control channel."""

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, ClassVar, Final

import anyio
import msgspec
import pytest
from anyio.abc import TaskGroup

from hsrv.common.terms import DeathReason, Preload, Role
from hsrv.ipc.anonfile import anonymous_file
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import Forked, FromTemplate, TemplateReady
from hsrv.options.config import Config
from hsrv.supervisor.hands import hands, templates
from hsrv.supervisor.hands.hands import ProcessHands
from hsrv.supervisor.hands.templates import TemplateInputs
from hsrv.supervisor.health.deaths import DeathExaminer
from hsrv.supervisor.plan.actions import Report
from hsrv.supervisor.plan.plan import Plan
from hsrv.supervisor.plan.settings import settings_of
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.reports.listeners import ServerReports
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.handoffs import Handoffs
from hsrv.system.cgroupmemory import MemoryGroup

DEADLINE: Final = 10.0
NO_PROCESS: Final = 1 << 23
"""Pids from here on: more than the kernel gives."""
CONFIG: Final = Config(app="a:b", workers=1, pools=1, startup_timeout=60, drain_delay=0, leader_first=False)
READY: Final = TemplateReady(preload=Preload.APP, detail="", app="a:b")


class FakeTemplate:
    """What is asked of it is noted; what it says is what a test lets it say."""

    pids = count(NO_PROCESS)
    made: ClassVar["list[FakeTemplate]"] = []

    def __init__(self, generation: int, environ: object = None) -> None:
        self.generation = generation
        self.config = Config()
        self.is_ready = False
        self.pid = next(FakeTemplate.pids)
        self.began = float(self.pid)
        self.asked: list[str] = []
        self.children: list[ChildHandle] = []
        self.said: deque[FromTemplate] = deque()
        """Not heard yet."""
        FakeTemplate.made.append(self)
        self.silent = anyio.Event()
        """Its channel has ended."""

    def boot(self, config: Config, *args: object, **kwargs: object) -> None:
        self.config = config
        self.asked.append("boot")

    def renew(self, generation: int, config: Config, *args: object) -> None:
        self.generation, self.config = generation, config
        self.asked.append("renew")

    def fork(self, child: ChildHandle, *args: object, **kwargs: object) -> None:
        self.children.append(child)
        self.asked.append(f"fork {child.identity.name}")

    def own(self, files: object) -> None:
        self.asked.append("own")

    def quit(self) -> None:
        self.asked.append("quit")

    async def run(self, on_message: Callable[[Any, FromTemplate], None]) -> None:
        await self.silent.wait()

    def hear(self, on_message: Callable[[Any, FromTemplate], None]) -> bool:
        while self.said:
            on_message(self, self.said.popleft())
        return True

    def close(self) -> None:
        self.asked.append("closed")


class FakeDiagnostics:
    def __init__(self) -> None:
        self.deaths = DeathExaminer(MemoryGroup())
        self.late: list[tuple[str, DeathReason]] = []

    async def kill_with_stacks(self, child: ChildHandle, reason: DeathReason, why: str) -> None:
        self.late.append((child.identity.name, reason))

    def report_crash(self, child: ChildHandle) -> None:
        """Nothing was left."""


class Server:
    def __init__(self, tasks: TaskGroup, reuse: Any = None) -> None:
        self.reports: list[Report] = []
        self.unknown_exits: list[tuple[int, int]] = []
        self.diagnostics = FakeDiagnostics()
        self.plan = Plan(settings_of(CONFIG), development=reuse is not None)
        told = ServerReports()
        told.stream.listen(self.reports.append)
        self.loop = Loop(self.plan, told.stream.tell)
        self.loop.tasks = tasks
        self.inputs = TemplateInputs(
            Addresses([]), Handoffs(lambda: None, lambda: 1.0), Channel.pair(), anonymous_file("hsrv-test")
        )
        self.hands = self.loop.hands = ProcessHands(
            self.loop,
            Configuration(CONFIG),
            self.inputs,
            diagnostics=self.diagnostics,
            living={},
            on_unknown_exit=lambda pid, status: self.unknown_exits.append((pid, status)),
            reuse=reuse,
        )

    def start(self, operation: str = "") -> FakeTemplate:
        self.loop.perform(self.plan.start(self.loop.now(), operation))
        return self.newest()

    def newest(self) -> FakeTemplate:
        found: Any = list(self.hands.templates.living.values())[-1]
        assert isinstance(found, FakeTemplate)
        return found

    def says(self, template: FakeTemplate, message: FromTemplate) -> None:
        template.said.append(message)
        template.hear(self.hands.templates._on_message)

    def forked(self, template: FakeTemplate) -> None:
        """All that it was asked for exist now."""
        for child in template.children:
            if not child.pid and not child.gone.is_set():
                self.says(template, Forked(identity=child.identity, pid=next(FakeTemplate.pids)))

    async def serve(self) -> FakeTemplate:
        template = self.start()
        self.says(template, READY)
        self.forked(template)
        for child in template.children:
            speak(child, "ready", pid=child.pid, lifespan=True)
        await until(lambda: self.plan.serving() is not None)
        return template

    def child(self, role: Role, generation: int = 1) -> ChildHandle:
        living = self.hands.children.living.values()
        return next(
            one for one in living if (one.identity.role, one.identity.generation) == (role, generation)
        )

    def of(self, kind: type[Report]) -> list[Any]:
        return [one for one in self.reports if isinstance(one, kind)]

    async def end(self) -> None:
        self.loop.perform(self.plan.stop_now("the test is over", self.loop.now()))
        for child in [child for template in FakeTemplate.made for child in template.children]:
            if child.pid in self.hands.children.living:
                self.hands.children.exited(child.pid, 0)
            child.ended(DeathReason.NOT_FORKED, "")
            child.theirs.close()
            await until(lambda child=child: child.board < 0)  # type: ignore[misc]  # closed: it was heard to its end
        self.hands.templates.living.clear()
        await self.hands.end(lambda: True)
        FakeTemplate.made.clear()


def speak(child: ChildHandle, method: str, **params: Any) -> None:
    child.theirs.sendall(msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params}) + b"\n")


async def told(child: ChildHandle, method: str) -> dict[str, Any]:
    """The parameters of the next command of this name that the child reads."""
    child.theirs.setblocking(False)
    data = bytearray()
    while True:
        for line in data.split(b"\n")[:-1]:
            message = msgspec.json.decode(line)
            if message.get("method") == method:
                params: dict[str, Any] = message.get("params") or {}
                return params
        await anyio.wait_readable(child.theirs)
        data += child.theirs.recv(1 << 16, socket.MSG_PEEK)[len(data) :]


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110  # whatever it is, it has no event
        await anyio.sleep(0.001)


@asynccontextmanager
async def serving(reuse: Any = None) -> AsyncIterator[Server]:
    with anyio.fail_after(DEADLINE):
        async with anyio.create_task_group() as tasks:
            server = Server(tasks, reuse)
            try:
                yield server
            finally:
                await server.end()
                tasks.cancel_scope.cancel()


class Kills:
    """Signals that were sent instead of being sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pids: list[int] = []
        monkeypatch.setattr(templates, "TemplateHandle", FakeTemplate)
        monkeypatch.setattr("os.kill", lambda pid, signum: self.pids.append(pid))


def dead(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, int]) -> None:
    """What is reaped next."""
    monkeypatch.setattr(hands, "reap", lambda: list(found))
