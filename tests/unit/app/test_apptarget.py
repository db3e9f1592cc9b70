"""Which application is meant, known without importing it."""

import sys
import types
from pathlib import Path

import msgspec
import pytest

from hsrv.app.apptarget import AppTarget, import_string, of_pool, resolve_target
from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Interface
from hsrv.options.config import Config

BOMB = "raise AssertionError('imported')\n"


def write(folder: Path, **files: str) -> None:
    for name, source in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def target(folder: Path, app: str | None = None, *, factory: bool = False) -> AppTarget:
    return resolve_target(Config(app=app, app_dir=str(folder), factory=factory))


@pytest.mark.parametrize(
    ("text", "module", "attribute", "call"),
    [
        ("shop:app", "shop", "app", False),
        (" shop:app ", "shop", "app", False),
        ("shop:box.app", "shop", "box.app", False),
        ("shop.web:make()", "shop.web", "make", True),
        ("shop:Box.make()", "shop", "Box.make", True),
        ("shop.web.app", "shop.web", "app", False),
        ("shop.web.box.app", "shop.web", "box.app", False),
        ("shop.web", "shop.web", "", False),
        ("shop", "shop", "", False),
        ("shop.make()", "shop", "make", True),
        ("installed.package.app", "installed.package", "app", False),
        ("installed", "installed", "", False),
    ],
)
def test_each_form_of_a_name(tmp_path: Path, text: str, module: str, attribute: str, call: bool) -> None:
    write(tmp_path, shop__in____init__=BOMB, shop__in__web=BOMB)
    assert target(tmp_path, text) == AppTarget(module, attribute, call, "")


def test_the_factory_option_calls_whatever_is_named(tmp_path: Path) -> None:
    assert target(tmp_path, "shop:make", factory=True).import_string == "shop:make()"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", None),
        ("shop:", None),
        (":app", None),
        ("shop:app:more", None),
        ("shop:make(1)", None),
        ("two words", None),
        ("shop()", None),
        ("shop.py", "shop:app"),
        ("shop.py:main", "shop:main"),
        ("./shop.py:app", "shop:app"),
        ("lib/shop:app", "lib.shop:app"),
    ],
)
def test_what_is_no_name_is_told_what_is_allowed(tmp_path: Path, text: str, hint: str | None) -> None:
    write(tmp_path, shop=BOMB)
    with pytest.raises(AppLoadError, match=r"module:attribute, module:factory\(\)") as raised:
        target(tmp_path, text)
    assert ("did you mean" in str(raised.value)) is (hint is not None)
    assert str(raised.value).endswith(f"did you mean {hint}?" if hint else "dotted attribute")


@pytest.mark.parametrize(
    ("files", "found", "where"),
    [
        ({"main": "app = 1"}, "main:app", "main.py"),
        ({"main": "application = 1"}, "main:application", "main.py"),
        ({"main": "asgi = app = 1"}, "main:app", "main.py"),
        ({"app": "def app(): ..."}, "app:app", "app.py"),
        ({"asgi": "async def application(s, r, t): ..."}, "asgi:application", "asgi.py"),
        ({"asgi": "from shop import web as app"}, "asgi:app", "asgi.py"),
        ({"main": "app: object = 1", "app": "app = 1"}, "main:app", "main.py"),
        ({"main": "if True:\n    app = 1"}, "main:app", "main.py"),
        ({"main": "import app\napp.go()", "app": "app = 1"}, "app:app", "app.py"),
        ({"main": "def f():\n    app = 1", "app": "app = 1"}, "app:app", "app.py"),
        ({"main": "class app: ...", "app": "app = 1"}, "app:app", "app.py"),
        ({"main": "(", "app": "app = 1"}, "main", "main.py"),
        ({"main": "served = 1"}, "main", "main.py"),
        ({"app__in____init__": "app = 1"}, "app:app", "app/__init__.py"),
    ],
)
def test_discovery_reads_what_the_usual_modules_bind(
    tmp_path: Path, files: dict[str, str], found: str, where: str
) -> None:
    write(tmp_path, **files)
    seen = target(tmp_path)
    assert seen.import_string == found
    assert seen.how_found == f"found in {tmp_path / where}"


DJANGO = {
    "manage": "'mysite.settings'",
    "mysite__in____init__": "",
    "blog__in____init__": "",
    "app__in____init__": "",
}
BOUND = "application = 1"


@pytest.mark.parametrize("app", [None, "mysite"])
@pytest.mark.parametrize(
    ("files", "interface", "expected"),
    [
        ({"mysite__in__asgi": BOUND}, "auto", ("mysite.asgi:application", "")),
        ({"mysite__in__wsgi": BOUND}, "auto", ("mysite.wsgi:application", "")),
        ({"mysite__in__wsgi": BOUND, "blog__in__asgi": BOUND}, "auto", ("mysite.wsgi:application", "")),
        ({"mysite__in__asgi": BOUND, "mysite__in__wsgi": BOUND}, "auto", ("mysite.asgi:application", "wsgi")),
        ({"mysite__in__asgi": BOUND, "mysite__in__wsgi": BOUND}, "wsgi", ("mysite.wsgi:application", "asgi")),
        ({"mysite__in__asgi": "("}, "auto", ("mysite.asgi", "")),
    ],
)
def test_a_django_project_is_found_by_its_manage_py_or_its_name(
    tmp_path: Path, app: str | None, files: dict[str, str], interface: str, expected: tuple[str, str]
) -> None:
    found, other = expected
    write(tmp_path, **DJANGO, **files)
    seen = resolve_target(Config(app=app, app_dir=str(tmp_path), interface=Interface(interface)))
    assert seen.import_string == found
    both = "hsrv start mysite.wsgi --pool-app mysite.asgi"
    assert (f"--interface {other} takes it" in seen.how_found and both in seen.how_found) == bool(other)


def test_a_package_without_manage_py_is_not_looked_into_unless_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, mysite__in____init__="", mysite__in__wsgi=BOUND)
    with pytest.raises(AppLoadError):
        target(tmp_path)
    assert target(tmp_path, "mysite").import_string == "mysite.wsgi:application"
    write(tmp_path, mysite__in____init__="app = 1")
    assert target(tmp_path, "mysite").import_string == "mysite"


def test_asgi_and_wsgi_side_by_side_are_told(tmp_path: Path) -> None:
    write(tmp_path, asgi=BOUND, wsgi=BOUND)
    assert target(tmp_path).import_string == "asgi:application"
    assert "hsrv start wsgi --pool-app asgi" in target(tmp_path).how_found


def test_the_pool_may_have_another_application(tmp_path: Path) -> None:
    config = Config(app="shop:make", factory=True, interface=Interface.WSGI, app_dir=str(tmp_path))
    assert of_pool(config) is config
    pool = of_pool(msgspec.structs.replace(config, pool_app="shop.asgi:app"))
    assert resolve_target(pool).import_string == "shop.asgi:app"
    assert pool.interface is Interface.AUTO


def test_discovery_says_what_it_looked_for(tmp_path: Path) -> None:
    write(tmp_path, server="app = 1")
    with pytest.raises(AppLoadError) as raised:
        target(tmp_path)
    for words in ("main.py", "app/", "asgi.py", str(tmp_path), "hsrv start MODULE:ATTRIBUTE"):
        assert words in str(raised.value)


def test_nothing_is_imported(tmp_path: Path) -> None:
    write(tmp_path, main=f"{BOMB}app = 1", shop__in____init__=BOMB, shop__in__web=BOMB)
    assert target(tmp_path).module == "main"
    assert target(tmp_path, "shop.web:app").module == "shop.web"
    assert not {"main", "shop", "shop.web"} & sys.modules.keys()


class Callable3:
    async def __call__(self, scope: object, receive: object, send: object) -> None: ...


def test_an_object_is_named_by_the_module_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("holds_an_application")
    app = Callable3()
    module.served = app  # type: ignore[attr-defined]  # as an import would
    with pytest.raises(ValueError, match="import string"):
        import_string(app)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert import_string(app) == "holds_an_application:served"
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.delitem(sys.modules, module.__name__)
    with pytest.raises(ValueError, match="import string"):
        import_string(app)
