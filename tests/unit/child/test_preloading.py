"""What a template replies after its imports, by policy and outcome. The imports themselves: tests/unit/app."""

import random
from typing import Any

import msgspec
import pytest

from hsrv.app.apploader import LoadedApp
from hsrv.child import preloading
from hsrv.child.preloading import Preloaded, Reply, preload
from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Preload
from hsrv.ipc.messages import PreloadUnsafe, TemplateFailed, TemplateReady
from hsrv.options.config import Config

GENERATOR = random.Random(1)


async def application(scope: Any, receive: Any, send: Any) -> None:
    pass


@pytest.fixture
def unsafe(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Its only element: why a fork would be unsafe."""
    why: list[str | None] = [None]
    monkeypatch.setattr(preloading, "before_import", lambda: None)
    monkeypatch.setattr(preloading, "unsafe_to_fork", lambda *_: why[0])
    monkeypatch.setattr(preloading, "files_for_reading", lambda before: [7])
    monkeypatch.setattr(preloading, "generators_to_reseed", lambda: [GENERATOR])
    monkeypatch.setattr(preloading, "load_app", lambda config: LoadedApp(application, "main:app"))
    monkeypatch.setattr(preloading, "import_libraries", lambda target, folder: 5)
    return why


def run(policy: Preload, **options: Any) -> tuple[Reply, Preloaded]:
    return preload(msgspec.structs.replace(Config(), app="main:app", **options), policy)


def test_without_a_preload_nothing_is_imported(unsafe: list[str | None]) -> None:
    reply, found = run(Preload.NONE)
    assert isinstance(reply, TemplateReady)
    assert (reply.preload, reply.app) == (Preload.NONE, "main:app")
    assert found == Preloaded()


@pytest.mark.parametrize("policy", [Preload.AUTO, Preload.APP])
def test_an_application_that_is_safe_is_inherited_with_what_each_child_renews(
    policy: Preload, unsafe: list[str | None]
) -> None:
    reply, found = run(policy)
    assert isinstance(reply, TemplateReady)
    assert (reply.preload, reply.detail) == (Preload.APP, "application")
    assert found.app is not None
    assert (found.app.app, found.generators, found.files_for_reading) == (application, [GENERATOR], [7])


def test_what_a_fork_would_share_is_reported_instead(unsafe: list[str | None]) -> None:
    unsafe[0] = "a thread runs"
    assert run(Preload.AUTO) == (PreloadUnsafe(reason="a thread runs"), Preloaded())
    assert run(Preload.LIBRARIES) == (PreloadUnsafe(reason="a thread runs"), Preloaded())


def test_an_operator_who_asks_for_the_application_gets_it_with_a_warning(unsafe: list[str | None]) -> None:
    unsafe[0] = "a thread runs"
    reply, found = run(Preload.APP)
    assert isinstance(reply, TemplateReady)
    assert reply.detail == "application, although a thread runs"
    assert found.app is not None


def test_libraries_alone_leave_the_application_to_the_children(unsafe: list[str | None]) -> None:
    reply, found = run(Preload.LIBRARIES)
    assert isinstance(reply, TemplateReady)
    assert (reply.preload, reply.detail) == (Preload.LIBRARIES, "5 modules")
    assert found.app is None
    assert found.generators == [GENERATOR]


@pytest.mark.parametrize(("reload", "kind"), [(False, TemplateFailed), (True, TemplateReady)])
def test_an_application_that_cannot_be_loaded_fails_except_in_development(
    reload: bool, kind: type[Reply], unsafe: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: Config) -> LoadedApp:
        raise AppLoadError("broken", "Traceback ...")

    monkeypatch.setattr(preloading, "load_app", fail)
    reply, found = run(Preload.AUTO, reload=reload)
    assert isinstance(reply, kind)
    assert found == Preloaded()
    if isinstance(reply, TemplateFailed):
        assert (reply.message, reply.traceback) == ("broken", "Traceback ...")
