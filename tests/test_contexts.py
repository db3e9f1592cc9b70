"""Who may be called back, and in which context (`hsrv.net.context`). Read from the sources of worker and pool.

asyncio and threading copy the present context where none is named, and most of our code may run within an
application's receive() or send(). The supervisor runs no application, nor do the commands of
operators: they are left out.
"""

import ast
from collections.abc import Iterator
from typing import Final

import pytest

from tests.test_layers import modules, parsed, role_of

CALLS_BACK: Final = {
    "Task",
    "Thread",
    "Timer",
    "add_done_callback",
    "call_at",
    "call_later",
    "call_soon",
    "call_soon_threadsafe",
    "copy_context",
    "create_task",
    "ensure_future",
    "run_coroutine_threadsafe",
    "run_in_executor",
    "run_sync",
    "start_soon",
    "to_thread",
}
"""What takes over the present context."""

CLASSES: Final = {"Task", "Thread", "Timer"}
"""Which do so when they are called."""

WATCHES: Final = {"add_reader", "add_signal_handler", "add_writer"}
"""The same, of an event loop. Those of a `Poller` don't."""

NOT_OURS: Final = ("hsrv.cli", "hsrv.demo", "hsrv.operate", "hsrv.pytest_plugin", "hsrv.testing")
"""Programs of their own, and an application."""

ALLOWED: Final = {
    ("hsrv.asyncpool.websocket.link", "copy_context"): "the session calls it in the context that it has made",
    ("hsrv.child.life", "start_soon"): "in the process's own task, before anything is served",
    ("hsrv.child.life", "to_thread"): "in the process's own task, after everything was served",
    ("hsrv.events.collectors", "Thread"): "the end of a process",
    ("hsrv.events.collectors", "copy_context"): "made at the start of a process",
    ("hsrv.net.context", "copy_context"): "here it is made",
    ("hsrv.child.strayexits", "create_task"): "the start of a process",
    ("hsrv.net.poller", "add_reader"): "within own_context(loop).copy().run()",
    ("hsrv.net.poller", "add_writer"): "within own_context(loop).copy().run()",
    ("hsrv.rpc.inbound", "start_soon"): "tasks of the control channel, which no application reaches",
    ("hsrv.wsgi.call", "copy_context"): "of the call that runs, for all that belongs to it",
    ("hsrv.wsgi.threads", "Thread"): "each of its jobs runs in the context of its call",
    ("hsrv.rpc.memory", "copy_context"): "the sender's, for whoever asks for it",
}
"""Where it is used without naming a context, and why that is none of an application's."""


def unnamed(tree: ast.AST) -> Iterator[str]:
    """What of the above is called without a context, or passed on to be called by somebody."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {id(call.func) for call in calls if "context" in {keyword.arg for keyword in call.keywords}}
    called = {id(call.func) for call in calls}
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if id(node) in named or (name in CLASSES and id(node) not in called):
            continue
        of_loop = isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("loop")
        if name in CALLS_BACK or (name in WATCHES and of_loop):
            yield name


def served() -> list[str]:
    """The modules that a worker or pool may use."""
    return [
        name
        for name in sorted(modules())
        if role_of(name) != "supervisor" and not any(f"{name}.".startswith(f"{one}.") for one in NOT_OURS)
    ]


def test_whoever_is_called_back_names_the_context() -> None:
    found = {(name, what) for name in served() for what in unnamed(parsed(modules()[name]))}
    assert not found - ALLOWED.keys(), "see hsrv.net.context: soon(), later(), at_end(), own_context()"
    assert not ALLOWED.keys() - found, "nobody needs this exception any more"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("loop.call_soon(work)", ["call_soon"]),
        ("loop.call_soon(work, context=own)", []),
        ("log = Log(loop.call_soon)", ["call_soon"]),
        ("task: asyncio.Task[None] = asyncio.Task(work, context=own)", []),
        ("asyncio.Task(work)", ["Task"]),
        ("self._loop.add_reader(fd, work)\nself._poller.add_reader(fd, work)", ["add_reader"]),
        ("from threading import Thread\nThread(target=work)", ["Thread"]),
    ],
)
def test_what_counts(code: str, found: list[str]) -> None:
    assert list(unnamed(ast.parse(code))) == found
