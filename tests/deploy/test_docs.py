"""What the documentation says can be done as it says, and its links lead somewhere."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hsrv.options.config import options
from tests.deploy.docs import PAGES, Page, blocks
from tests.deploy.proxies import documented
from tests.integration.conftest import ROOT

RUNNABLE = [page for page in PAGES if any(block.is_run for block in blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def can_run() -> str:
    """Why not, or ""."""
    for program in ("unshare", "nsenter", "curl", "bash"):
        if shutil.which(program) is None:
            return f"no {program} here"
    done = subprocess.run(
        ["unshare", "--net", "true"], capture_output=True, text=True, check=False, timeout=20
    )
    return done.stderr.strip()


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(can_run()), reason=can_run())
@pytest.mark.parametrize("page", RUNNABLE, ids=name)
def test_a_pages_commands_do_what_it_says(page: Path, tmp_path: Path) -> None:
    running = Page(page, tmp_path)
    with running.network():
        running.run()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_command_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        if block.is_shell and not block.is_run:
            assert re.fullmatch(r"not run: \w.{5,}", block.mark), f"{name(page)}:{block.line}"
        if block.mark == "server":
            assert block.is_shell


def test_some_are_run() -> None:
    assert len(RUNNABLE) >= 1
    assert sum(len(block.commands()) for page in RUNNABLE for block in blocks(page) if block.is_run) > 15


# links


def anchors(page: Path) -> set[str]:
    """Of its headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue  # another site: not asked from a test
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), target


FOR_DEVELOPERS = (ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md")


def test_files_that_pages_name_exist() -> None:
    for page in dict.fromkeys((*PAGES, *FOR_DEVELOPERS)):
        for path in re.findall(
            r"`((?:deploy|tests|docs|hsrv|supervisor|worker|asyncpool)/[\w./-]+)`", page.read_text()
        ):
            assert (ROOT / path).exists(), f"{name(page)}: {path}"


def classes() -> dict[str, set[str]]:
    """Every class and type alias of the product, with the methods that it defines itself: where a reader finds them."""
    found: dict[str, set[str]] = {}
    for folder in ("hsrv", "supervisor", "worker", "asyncpool"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    functions = (
                        one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
                    )
                    found.setdefault(node.name, set()).update(one.name for one in functions)
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    found.setdefault(node.targets[0].id, set())
    return found


@pytest.mark.parametrize("page", FOR_DEVELOPERS, ids=name)
def test_classes_and_methods_that_pages_name_exist(page: Path) -> None:
    known = classes()
    for one, method in re.findall(r"`([A-Z]\w*[a-z]\w*)(?:\.(\w+))?(?:\(\))?`", page.read_text()):
        assert one in known, one
        assert not method or method in known[one], f"{one}.{method}: in the class that defines it"


def test_the_options_that_pages_name_exist() -> None:
    """Of hsrv: in its column of the migration table, and in every command that starts it."""
    known = {option.flag for option in options()} | {
        f"--no-{option.name.replace('_', '-')}" for option in options()
    }
    rows = [line.split("|") for line in (ROOT / "docs/migration.md").read_text().splitlines() if "|" in line]
    named = [("migration table", flag) for row in rows for flag in re.findall(r"--[a-z][\w-]+", row[2])]
    for page in PAGES:
        commands = [line for block in blocks(page) if block.is_shell for line in block.text.splitlines()]
        started = [line for line in commands if "hsrv start" in line]
        named += [(name(page), flag) for line in started for flag in re.findall(r" (--[a-z][\w-]+)", line)]
    assert len(named) > 50
    assert [found for found in named if found[1] not in known] == []


def test_every_page_is_in_the_list_of_pages() -> None:
    listed = (ROOT / "docs" / "README.md").read_text()
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in listed, page.name
        assert page.name in navigation, page.name


def test_the_site_is_built(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "index.html").exists()


def test_the_pages_nginx_is_the_deployed_one_in_short() -> None:
    """Each of its directives is in the whole configuration too."""
    whole = (ROOT / "deploy/kubernetes/components/nginx/nginx.conf").read_text()
    differs = ("server 127", "listen", "proxy_set_header X-Forwarded-Proto")
    for line in documented("nginx.conf").splitlines()[1:]:
        directive = line.strip()
        if directive and not directive.startswith(differs):
            assert re.sub(r"\s+", " ", directive) in re.sub(r"\s+", " ", whole), directive
