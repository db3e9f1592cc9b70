"""A handle on a real template process, which forks a real worker."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from hsrv.common.terms import Identity, Preload, Role
from hsrv.ipc.channel import Channel
from hsrv.ipc.messages import Exited, Forked, FromTemplate, TemplateFailed, TemplateReady
from hsrv.options.config import Config
from hsrv.supervisor.processes.children import ChildHandle
from hsrv.supervisor.processes.templates import TemplateHandle
from hsrv.supervisor.sockets.listeners import Listener, close_listeners, open_listeners
from tests.unit.descriptors import open_descriptors

DEADLINE = 20.0
Channels = tuple[Channel, Channel, Channel, Channel]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "made_for_test.py").write_text("async def app(scope, receive, send): ...\n")
    return Config(app="made_for_test:app", app_dir=str(tmp_path))


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    listeners = open_listeners(["127.0.0.1:0"], backlog=1, unix_mode=0)
    yield listeners
    close_listeners(listeners)


@pytest.fixture
def channels() -> Iterator[Channels]:
    channels = (*Channel.pair(), *Channel.pair())
    yield channels
    for channel in channels:
        channel.close()


def within_deadline(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(DEADLINE):
            await story()

    anyio.run(bounded)


def status_of(template: TemplateHandle) -> int:
    """Wait for its end."""
    return os.waitpid(template.pid, 0)[1]


class Conversation:
    """Hears a template, and answers each kind of message with a function."""

    def __init__(self, **answers: Callable[[FromTemplate], None]) -> None:
        self.answers = answers
        self.heard: list[FromTemplate] = []

    def __call__(self, template: TemplateHandle, message: FromTemplate) -> None:
        self.heard.append(message)
        if (answer := self.answers.get(type(message).__name__)) is not None:
            answer(message)


def test_a_template_boots_forks_tells_and_quits(
    config: Config, listeners: list[Listener], channels: Channels
) -> None:
    async def story() -> None:
        template = TemplateHandle(1)
        template.boot(config, Preload.AUTO, channels, listeners)
        child = ChildHandle(Identity(Role.WORKER, 1, 1))
        talk = Conversation(
            TemplateReady=lambda _: template.fork(child),
            Forked=lambda _: child.dismiss(),
            Exited=lambda _: template.quit(),
        )
        await template.run(talk)
        template.close()
        assert status_of(template) == 0
        ready, forked, exited = talk.heard
        assert isinstance(ready, TemplateReady)
        assert isinstance(forked, Forked)
        assert isinstance(exited, Exited)
        assert exited.pid == forked.pid
        assert child.theirs.fileno() < 0, "the child's end is the child's"
        await child.run(*[talk_of_nothing] * 4)

    within_deadline(story)


def talk_of_nothing(child: ChildHandle, params: object) -> None:
    raise AssertionError(params)


def test_what_it_said_last_can_be_heard_after_its_end(
    config: Config, listeners: list[Listener], channels: Channels, tmp_path: Path
) -> None:
    (tmp_path / "made_for_test.py").write_text("1 / 0\n")

    async def story() -> None:
        template = TemplateHandle(1)
        template.boot(config, Preload.AUTO, channels, listeners)
        status_of(template)
        talk = Conversation()
        assert not template.hear(talk)
        assert [type(message) for message in talk.heard] == [TemplateFailed]
        template.close()
        assert not template.hear(talk), "closed, and harmless"

    within_deadline(story)


def test_one_that_is_gone_can_be_spoken_to_without_harm(config: Config) -> None:
    async def story() -> None:
        template = TemplateHandle(1)
        os.kill(template.pid, 9)
        status_of(template)
        child = ChildHandle(Identity(Role.WORKER, 1, 1))
        template.fork(child)
        template.quit()
        template.close()
        await child.run(
            talk_of_nothing, talk_of_nothing, talk_of_nothing, lambda *_: None
        )  # it ends: nobody has the other end

    within_deadline(story)


def test_modules_in_the_current_directory_do_not_take_the_place_of_the_standard_library(
    config: Config,
    listeners: list[Listener],
    channels: Channels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "gc.py").write_text("")
    for name in ("socket", "signal", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not the real one')\n")
    monkeypatch.chdir(tmp_path)

    async def story() -> None:
        template = TemplateHandle(1)
        template.boot(config, Preload.NONE, channels, listeners)
        talk = Conversation(TemplateReady=lambda _: template.quit())
        await template.run(talk)
        template.close()
        assert status_of(template) == 0

    within_deadline(story)


def test_one_that_can_not_be_started_raises_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    before = open_descriptors()
    with pytest.raises(OSError, match="nowhere"):
        TemplateHandle(1)
    assert open_descriptors() <= before
