"""From a name to an application, and what a person is told when there is none."""

import gc
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from hsrv.app.apploader import load_app
from hsrv.app.apptarget import being_imported
from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Interface
from hsrv.options.config import Config

NAME = "loaded_here"  # pytest rewrites what is named like a test
ASYNC = "async def app(scope, receive, send): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


def load(folder: Path, source: str, app: str | None = None, *, factory: bool = False) -> str:
    (folder / f"{NAME}.py").write_text(textwrap.dedent(source))
    return load_app(Config(app=app or f"{NAME}:app", app_dir=str(folder), factory=factory)).import_string


def refused(folder: Path, source: str, app: str | None = None, *, factory: bool = False) -> AppLoadError:
    with pytest.raises(AppLoadError) as raised:
        load(folder, source, app, factory=factory)
    gc.collect()  # a coroutine that nobody awaited would warn now
    return raised.value


# what is an application


@pytest.mark.parametrize(
    "source",
    [
        ASYNC,
        "class App:\n    async def __call__(self, scope, receive, send): ...\napp = App()",
        "class App:\n    async def run(self, scope, receive, send): ...\napp = App().run",
        "async def inner(scope, receive, send): ...\ndef app(scope, receive, send): return inner(scope, receive, send)",
        "import functools\nasync def f(x, scope, receive, send): ...\napp = functools.partial(f, 1)",
        "async def app(scope, receive, send, extra=None): ...",
        "async def app(*args): ...",
        "class app:\n    def __init__(self, scope, receive, send): ...\n    def __await__(self): yield",
    ],
    ids=["function", "object", "method", "wrapper", "partial", "default", "args", "awaitable"],
)
def test_every_form_of_an_asgi_3_application_is_taken(folder: Path, source: str) -> None:
    assert load(folder, source) == f"{NAME}:app"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("app = 5", "int can't be called"),
        ("app = None", "NoneType can't be called"),
        (
            "def app(scope):\n    async def inner(receive, send): ...\n    return inner",
            "guarantee_single_callable",
        ),
        ("class app:\n    def __init__(self, scope): ...", "guarantee_single_callable"),
        ("class app:\n    async def __call__(self, scope, receive, send): ...", "give an instance of it"),
        ("def app(): ...", "--factory"),
        ("async def app(scope, receive): ...", "it doesn't take scope, receive and send"),
        ("async def app(scope, receive, send): yield", "contains yield"),
        ("import json as app", "module can't be called"),
    ],
)
def test_what_is_none_is_told_what_it_is_and_what_to_do(folder: Path, source: str, said: str) -> None:
    error = refused(folder, source)
    assert str(error).startswith(f"{NAME}:app ")
    assert said in str(error)


@pytest.mark.parametrize(
    "source",
    [
        "def app(environ, start_response): ...",
        "class App:\n    def __call__(self, environ, start_response): ...\napp = App()",
        "class App:\n    def run(self, environ, start_response): ...\napp = App().run",
        "class app:\n    def __init__(self, environ, start_response): ...\n    def __iter__(self): ...",
        "import functools\ndef f(x, environ, start_response): ...\napp = functools.partial(f, 1)",
        "def app(environ, start_response, extra=None): ...",
        "app = lambda e, s: []",
    ],
    ids=["function", "object", "method", "class", "partial", "default", "lambda"],
)
def test_every_form_of_a_wsgi_application_is_taken(folder: Path, source: str) -> None:
    (folder / f"{NAME}.py").write_text(source)
    config = Config(app=f"{NAME}:app", app_dir=str(folder))
    assert load_app(config).interface is Interface.WSGI
    assert load_app(replace(config, interface=Interface.WSGI)).interface is Interface.WSGI
    if "extra" not in source:  # which can be called as both
        with pytest.raises(AppLoadError, match=r"--interface auto or wsgi|is a class"):
            load_app(replace(config, interface=Interface.ASGI))


def test_what_takes_anything_is_asgi_unless_the_operator_says_otherwise(folder: Path) -> None:
    (folder / f"{NAME}.py").write_text("def app(*args, **kwargs): ...")
    config = Config(app=f"{NAME}:app", app_dir=str(folder))
    assert load_app(config).interface is Interface.ASGI
    assert load_app(replace(config, interface=Interface.WSGI)).interface is Interface.WSGI


@pytest.mark.parametrize("source", [ASYNC, "def app(environ): ...", "app = 5"])
def test_what_can_not_be_called_as_wsgi_is_refused_if_it_must(folder: Path, source: str) -> None:
    (folder / f"{NAME}.py").write_text(source)
    with pytest.raises(AppLoadError, match=r"not a WSGI application \(--interface wsgi\)|can't be called"):
        load_app(Config(app=f"{NAME}:app", app_dir=str(folder), interface=Interface.WSGI))


def test_a_discovered_module_may_hold_a_wsgi_application_under_any_name(folder: Path) -> None:
    source = (
        "class App:\n    def __call__(self, environ, start_response): ...\nshop = App()\ndef plain(a, b): ..."
    )
    assert load(folder, source, NAME) == f"{NAME}:shop"


def test_an_async_function_of_two_arguments_is_not_taken_for_wsgi(folder: Path) -> None:
    assert "WSGI" not in str(refused(folder, "async def app(scope, receive): ..."))


# factories


def test_a_factory_is_called_once_with_nothing(folder: Path) -> None:
    source = f"calls = []\n{ASYNC}def make(name='x'):\n    calls.append(name)\n    return app\n"
    assert load(folder, source, f"{NAME}:make()") == f"{NAME}:make()"
    assert sys.modules[NAME].calls == ["x"]
    assert load(folder, source, f"{NAME}:make", factory=True) == f"{NAME}:make()"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("make = 5", "is not a factory: int can't be called"),
        ("def make(name): ...", "needs arguments: (name)"),
        ("async def make(scope, receive, send): ...", "omit --factory or ()"),
        ("async def make(): ...", "must be a plain function"),
        ("def make(): return 5", "make() is not an application: int can't be called"),
        ("def make(): raise KeyError('db')", "raised KeyError: 'db'"),
        ("def make(): raise SystemExit(1)", "raised SystemExit: 1"),
    ],
)
def test_a_factory_that_makes_none(folder: Path, source: str, said: str) -> None:
    assert said in str(refused(folder, source, f"{NAME}:make()"))


# failures of the import


def test_a_module_that_is_not_there_is_told_apart_from_one_that_it_imports(folder: Path) -> None:
    error = refused(folder, ASYNC, "loaded_her:app")
    assert str(error).startswith("no module named 'loaded_her'")
    assert f"did you mean {NAME!r}?" in str(error)
    assert error.traceback == ""
    error = refused(folder, "import not_installed_anywhere")
    assert str(error).startswith(f"{NAME} can't be imported: No module named 'not_installed_anywhere'")
    assert "import not_installed_anywhere" in error.traceback


def test_a_missing_part_of_a_package_is_the_part_that_is_named(folder: Path) -> None:
    (folder / "wholepackage").mkdir()
    (folder / "wholepackage" / "__init__.py").touch()
    (folder / "wholepackage" / "views.py").touch()
    error = refused(folder, ASYNC, "wholepackage.view:app")
    assert "no module named 'wholepackage.view'" in str(error)
    assert "did you mean 'wholepackage.views'?" in str(error)


def test_a_syntax_error_is_shown_with_file_line_and_caret(folder: Path) -> None:
    error = refused(folder, "x = 1\ndef broken(:\n")
    assert f"{NAME}.py, line 2" in str(error)
    assert "def broken(:" in error.traceback
    assert "^" in error.traceback
    assert "importlib" not in error.traceback


def test_a_syntax_error_further_in_is_shown_with_the_way_there(folder: Path) -> None:
    (folder / "deeper.py").write_text("def broken(:\n")
    error = refused(folder, "import deeper")
    assert "deeper.py, line 1" in str(error)
    assert f'{NAME}.py", line 1' in error.traceback


def test_only_the_frames_of_the_application_are_shown(folder: Path) -> None:
    error = refused(folder, "def connect():\n    raise RuntimeError('no database')\n\nconnect()\n")
    assert str(error) == f"{NAME} can't be imported: RuntimeError: no database"
    lines = [line for line in error.traceback.splitlines() if line.startswith("  File ")]
    assert [(f"{NAME}.py" in line, line.rpartition(" ")[2]) for line in lines] == [
        (True, "<module>"),
        (True, "connect"),
    ]


def test_an_application_that_ends_the_interpreter_is_a_failure(folder: Path) -> None:
    assert "SystemExit: 3" in str(refused(folder, "raise SystemExit(3)"))


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (f"{NAME}:ap", "has no attribute 'ap'; did you mean 'app'?"),
        (f"{NAME}:box.ap", f"{NAME}.box has no attribute 'ap'; did you mean 'app'?"),
        (f"{NAME}:zzz", f"{NAME} has no attribute 'zzz'; {NAME} has app"),
    ],
)
def test_a_missing_attribute(folder: Path, app: str, said: str) -> None:
    source = f"{ASYNC}class box:\n    app = app\n"
    assert said in str(refused(folder, source, app))
    assert load(folder, source, f"{NAME}.box.app") == f"{NAME}:box.app"


@pytest.mark.parametrize("name", ["lazy", "box.lazy"])
def test_an_attribute_that_is_computed_and_fails_is_the_applications_failure(folder: Path, name: str) -> None:
    source = """
        class Box:
            @property
            def lazy(self):
                raise ValueError("no settings")

        def __getattr__(name):
            return Box().lazy

        box = Box()
    """
    error = refused(folder, source, f"{NAME}:{name}")
    assert str(error) == f"{NAME}.{name} raised ValueError: no settings"
    assert f"{NAME}.py" in error.traceback
    assert "apploader" not in error.traceback


def test_the_folder_comes_before_all_others_even_if_it_was_on_the_path(folder: Path) -> None:
    (folder / "earlier").mkdir()
    (folder / "earlier" / f"{NAME}.py").write_text("raise AssertionError('the namesake')")
    sys.path[:0] = [str(folder / "earlier"), str(folder.resolve())]
    assert load(folder, ASYNC) == f"{NAME}:app"


# discovery in a module


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (f"{ASYNC}async def asgi(s, r, t): ...", "app"),
        ("import json as app\nasync def asgi(s, r, t): ...", "asgi"),
        ("async def served(s, r, t): ...\nasync def other(s): ...", "served"),
        ("class A:\n    async def __call__(self, s, r, t): ...\nserved = A()", "served"),
        ("class A:\n    async def __call__(self, s, r, t): ...\nserved = again = A()", "served"),
        ("from tests.apps.raw import app as raw\nasync def served(s, r, t): ...", "served"),
    ],
)
def test_the_only_application_of_a_module_is_found(folder: Path, source: str, found: str) -> None:
    assert load(folder, source, NAME) == f"{NAME}:{found}"


def test_one_of_several_is_not_guessed(folder: Path) -> None:
    two = "async def one(s, r, t): ...\nasync def two(s, r, t): ...\n"
    assert "several applications (one, two)" in str(refused(folder, two, NAME))


def test_a_module_without_any_is_told(folder: Path) -> None:
    assert "no application of ASGI or WSGI" in str(refused(folder, "x = 1", NAME))


def test_what_is_imported_can_see_that_it_is(folder: Path) -> None:
    load(folder, f"from hsrv.app.apptarget import being_imported\nseen = being_imported.get()\n{ASYNC}")
    assert sys.modules[NAME].seen is True
    assert being_imported.get() is False
