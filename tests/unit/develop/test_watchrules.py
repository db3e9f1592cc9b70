"""Which paths count, by the tree that they are in; nothing here exists."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import pytest

from hsrv.develop.watchrules import FolderRules, Stale, WatchRules

APP = Path("/src/app")
INSTALLED = Path("/env/lib/python3.11/site-packages")


def counted(rules: WatchRules, tree: Iterable[str], gitignores: Mapping[str, str] | None = None) -> set[str]:
    """The files of a tree that count. Paths in the application's folder are given without it."""
    files = {PurePosixPath(APP, name) for name in tree}
    texts = {str(PurePosixPath(APP, folder)): text for folder, text in (gitignores or {}).items()}
    found: set[str] = set()
    for root in rules.roots():
        rules_here = root
        for folder in [folder for folder in texts if root.path.startswith(f"{folder}/")]:
            rules_here = rules_here.under(folder, texts[folder])
        _walk(rules_here, files, texts, found)
    return {path.removeprefix(f"{APP}/") for path in found}


def _walk(rules: FolderRules, files: set[PurePosixPath], texts: Mapping[str, str], found: set[str]) -> None:
    here = PurePosixPath(rules.path)
    inside = {path.relative_to(here) for path in files if path.is_relative_to(here)}
    names = {path.parts[0] for path in inside}
    opened = rules.opened(names, texts.get(rules.path, ""))
    if opened is None:
        return
    found |= {f"{here}/{path}" for path in inside if len(path.parts) == 1 and opened.counts(path.name)}
    for name in {path.parts[0] for path in inside if len(path.parts) > 1}:
        if (folder := opened.folder(name)) is not None:
            _walk(folder, files, texts, found)


@pytest.mark.parametrize("name", ["main.py", "a/b/c.py", ".hidden/x.py", "env.py", "environment/x.py"])
def test_python_files_count_by_default(name: str) -> None:
    assert counted(WatchRules(APP), [name]) == {name}


@pytest.mark.parametrize("name", ["index.html", "data.json", "README.md", "x.pyi", "py", ".env", "a.pyx"])
def test_other_files_do_not(name: str) -> None:
    assert counted(WatchRules(APP), [name]) == set()


@pytest.mark.parametrize("folder", [".git", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache"])
@pytest.mark.parametrize("include", [(), ("*",)])
def test_some_folders_never_count(folder: str, include: tuple[str, ...]) -> None:
    assert counted(WatchRules(APP, include), [f"{folder}/x.py", f"a/{folder}/b/x.py"]) == set()


@pytest.mark.parametrize(
    "name",
    [
        "x.pyc",
        "db.sqlite3",
        "db.sqlite3-journal",
        "db.sqlite3-wal",
        "db-shm",
        "4913",
        "main.py~",
        ".#main.py",
        "#main.py#",
        ".main.py.swp",
        ".main.py.swo",
        "main.py.tmp",
    ],
)
def test_some_files_never_count(name: str) -> None:
    assert counted(WatchRules(APP, ("*",)), [name, f"a/{name}", "a/real.txt"]) == {"a/real.txt"}


def test_an_environment_does_not_count_by_whatever_name() -> None:
    tree = [
        "main.py",
        "my-env/pyvenv.cfg",
        "my-env/bin/activate_this.py",
        "a/env/pyvenv.cfg",
        "a/env/lib/x.py",
    ]
    assert counted(WatchRules(APP), tree) == {"main.py"}


def test_an_application_inside_of_an_environment_or_a_skipped_folder_counts() -> None:
    assert counted(WatchRules(APP), ["main.py", "pyvenv.cfg", "lib/site-packages/x.py"]) == {"main.py"}
    deep = Path("/src/app/node_modules/app")
    assert counted(WatchRules(deep), ["node_modules/app/main.py"]) == {"node_modules/app/main.py"}


# --reload-include and --reload-exclude


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.html", {"index.html", "templates/a.html", "templates/deep/b.html"}),
        ("templates/*.html", {"templates/a.html"}),
        ("templates/**/*.html", {"templates/a.html", "templates/deep/b.html"}),
        ("templates", {"templates/a.html", "templates/deep/b.html", "templates/x.txt"}),
        ("/index.html", {"index.html"}),
        ("[ix]*.html", {"index.html"}),
    ],
)
def test_what_is_included_counts_beside_python_files(pattern: str, expected: set[str]) -> None:
    tree = ["main.py", "index.html", "templates/a.html", "templates/deep/b.html", "templates/x.txt"]
    assert counted(WatchRules(APP, (pattern,)), tree) == {"main.py", *expected}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("tests", {"main.py", "a/main.py"}),
        ("tests/", {"main.py", "a/main.py"}),
        ("/main.py", {"a/main.py", "tests/test_a.py", "a/tests/x.py"}),
        ("test_*.py", {"main.py", "a/main.py", "a/tests/x.py"}),
        ("*", set()),
    ],
)
def test_what_is_excluded_does_not_count(pattern: str, expected: set[str]) -> None:
    tree = ["main.py", "a/main.py", "tests/test_a.py", "a/tests/x.py"]
    assert counted(WatchRules(APP, exclude=(pattern,)), tree) == expected


def test_exclude_beats_include() -> None:
    rules = WatchRules(APP, ("*.html", "build/*.js"), ("*.html", "build"))
    assert counted(rules, ["main.py", "a.html", "build/x.js"]) == {"main.py"}


@pytest.mark.parametrize("pattern", ["", "  ", "/", "!", "#x"])
def test_what_is_no_pattern_is_refused_with_its_text(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        WatchRules(APP, (pattern,))
    with pytest.raises(ValueError, match="pattern"):
        WatchRules(APP, exclude=(pattern,))


# .gitignore


def test_what_git_ignores_does_not_count() -> None:
    texts = {"": "build/\n/local.py\n*.gen.py\n!kept.gen.py\n"}
    tree = ["main.py", "local.py", "a/local.py", "build/x.py", "a/build/x.py", "x.gen.py", "kept.gen.py"]
    assert counted(WatchRules(APP), tree, texts) == {"main.py", "a/local.py", "kept.gen.py"}


def test_the_nearest_gitignore_that_says_anything_decides() -> None:
    texts = {"": "*.gen.py\nlocal.py\n", "a": "!x.gen.py\n/b/\n", "..": "local.py\nmain.py\n!local.py\n"}
    tree = ["x.gen.py", "a/x.gen.py", "a/y.gen.py", "a/b/z.py", "b/z.py", "local.py", "main.py"]
    assert counted(WatchRules(APP), tree, {**texts, "/src": "main.py\n"}) == {"a/x.gen.py", "b/z.py"}


def test_a_gitignore_above_that_names_the_application_itself_is_none_of_ours() -> None:
    assert counted(WatchRules(APP), ["main.py"], {"/src": "app/\n"}) == {"main.py"}
    assert counted(WatchRules(APP), ["main.py"], {"/src": "*\n"}) == {"main.py"}


def test_lines_that_are_no_patterns_are_passed_over_as_git_does() -> None:
    assert counted(WatchRules(APP), ["main.py", "x.py"], {"": "!\n/\nx.py\n\\\n"}) == {"main.py"}


def test_an_include_that_names_its_folder_beats_gitignore() -> None:
    tree = ["main.py", "dist/app.js", "dist/deep/b.js", "dist/gen.py", "other/app.js", "a/dist/x.js"]
    texts = {"": "dist/\nother/\n"}
    assert counted(WatchRules(APP, ("dist/**/*.js",)), tree, texts) == {
        "main.py",
        "dist/app.js",
        "dist/deep/b.js",
    }
    assert counted(WatchRules(APP, ("*.js",)), tree, texts) == {"main.py"}


# files, packages, modules


def test_a_file_that_is_named_counts_whatever_else_says() -> None:
    env = APP / ".env"
    rules = WatchRules(APP, exclude=("*",), files=(env, APP / ".venv/x.env", Path("/etc/app.env")))
    tree = [".env", ".venv/x.env", ".venv/y.env", "/etc/app.env", "/etc/other.env"]
    assert counted(rules, tree, {"": ".env\n"}) == {".env", ".venv/x.env", "/etc/app.env"}


def test_project_files_count_in_the_applications_folder_only() -> None:
    tree = ["pyproject.toml", "hsrv.toml", "uv.lock", "requirements-dev.txt", "a/pyproject.toml", "x.toml"]
    assert counted(WatchRules(APP), tree) == {
        "pyproject.toml",
        "hsrv.toml",
        "uv.lock",
        "requirements-dev.txt",
    }
    assert counted(WatchRules(APP, exclude=("uv.lock",)), ["uv.lock"]) == set()


MODULES = {
    "main": "/src/app/main.py",
    "shared": "/src/shared/__init__.py",
    "shared.a.b": "/src/shared/a/b.py",
    "names.part": "/src/libs/names/part.py",
    "helper": "/home/me/helper.py",
    "odd.name": "/src/stray/elsewhere.py",
    "os": "/usr/lib/python3.11/os.py",
    "sys": None,
    "relative": "relative.py",
    "hsrv.child.template": "/src/hsrv/hsrv/template.py",
    "fastapi": f"{INSTALLED}/fastapi/__init__.py",
    "fastapi.routing": f"{INSTALLED}/fastapi/routing.py",
    "six": f"{INSTALLED}/six.py",
    "fast": f"{INSTALLED}/fast.cpython-311.so",
}


def test_imported_modules_tell_where_else_to_look() -> None:
    rules = WatchRules(APP).knowing(MODULES, [Path("/usr/lib/python3.11")])
    assert rules.packages == (Path("/src/libs/names"), Path("/src/shared"))
    assert rules.modules == (Path("/home/me/helper.py"), Path("/src/stray/elsewhere.py"))
    assert rules.libraries == (
        INSTALLED,
        INSTALLED / "fast.cpython-311.so",
        INSTALLED / "fastapi",
        INSTALLED / "six.py",
    )
    assert rules.knowing(MODULES, [Path("/usr/lib/python3.11")]) == rules


def test_what_lies_beside_a_single_module_does_not_count() -> None:
    rules = WatchRules(APP).knowing(MODULES, [Path("/usr/lib/python3.11")])
    tree = ["/home/me/helper.py", "/home/me/other.py", "/home/me/deep/x.py", "/src/shared/a/new.py"]
    assert counted(rules, tree) == {"/home/me/helper.py", "/src/shared/a/new.py"}


def test_of_libraries_the_imported_ones_count_and_what_is_installed() -> None:
    rules = WatchRules(APP).knowing(MODULES)
    tree = {
        f"{INSTALLED}/fastapi/a/b.py": True,
        f"{INSTALLED}/fastapi/a/__pycache__/b.pyc": False,
        f"{INSTALLED}/fastapi/py.typed": False,
        f"{INSTALLED}/django/conf.py": False,
        f"{INSTALLED}/django-5.dist-info/RECORD": True,
        f"{INSTALLED}/django-5.dist-info/METADATA": False,
        f"{INSTALLED}/six.py": True,
        f"{INSTALLED}/fast.cpython-311.so": True,
    }
    assert counted(rules, tree) == {name for name, expected in tree.items() if expected}
    assert counted(rules.without_libraries(), tree) == set()


# what is stale


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (APP / "main.py", Stale.CODE),
        (Path("/src/shared/a/b.py"), Stale.CODE),
        (APP / "a" / "pyproject.toml", Stale.CODE),
        (APP / "templates/x.html", Stale.CODE),
        (APP / "pyproject.toml", Stale.LIBRARIES),
        (APP / "uv.lock", Stale.LIBRARIES),
        (Path("/etc/app.env"), Stale.LIBRARIES),
        (INSTALLED / "fastapi" / "routing.py", Stale.LIBRARIES),
        (INSTALLED / "django-5.dist-info" / "RECORD", Stale.LIBRARIES),
    ],
)
def test_a_change_makes_the_code_stale_or_the_libraries_too(path: Path, expected: Stale) -> None:
    rules = WatchRules(APP, files=(Path("/etc/app.env"),)).knowing(MODULES)
    assert rules.stale([path]) is expected
    assert rules.stale([APP / "main.py", path]) is expected
