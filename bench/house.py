"""How the house stands: files, functions, classes, folders, and how far one request walks through them.

`python -m bench.house [TREE]`: of this checkout or another, whatever its layout; `--static` leaves the walks out, for
which a server is started.
"""

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final

from bench import walks

ROOT: Final = Path(__file__).parent.parent
ROLES: Final = ("supervisor", "worker", "asyncpool")
TOP: Final = 6
"""Classes that are shown."""


@dataclass(frozen=True)
class Class:
    name: str
    attributes: int
    """Assigned to self anywhere in it."""
    methods: int


@cache
def modules(tree: Path) -> dict[str, Path]:
    """Every module of the product under the name it is imported by, each file once."""
    found = {}
    for role in ("hsrv", *ROLES):
        for path in sorted((tree / role).rglob("*.py")):
            if path.resolve().is_relative_to((tree / role).resolve()):
                name = ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__")
                found[name if role == "hsrv" else f"hsrv.{name}"] = path
    return found


def read(tree: Path) -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text("utf-8")) for name, path in modules(tree).items()}


def functions(parsed: Iterable[ast.Module]) -> list[int]:
    """Lines of each function, without those of its docstring."""
    return [
        (node.end_lineno or 0) - node.lineno + 1 - _docstring(node)
        for tree in parsed
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return (first.end_lineno or 0) - first.lineno + 1 if said else 0


def classes(parsed: Mapping[str, ast.Module], *, inherited: bool) -> list[Class]:
    """`inherited`: each with what it has from other classes of ours."""
    nodes = {
        node.name: node
        for tree in parsed.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }

    def line(name: str) -> Iterator[ast.ClassDef]:
        if name in nodes:
            yield nodes[name]
            for base in nodes[name].bases if inherited else ():
                if ast.unparse(base) != name:
                    yield from line(ast.unparse(base))

    def counted(name: str) -> Class:
        body = [part for node in line(name) for part in node.body]
        methods = {part.name for part in body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
        attributes = {
            node.attr
            for part in body
            for node in ast.walk(part)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        }
        return Class(name, len(attributes), len(methods))

    return [counted(name) for name in nodes]


def imports(parsed: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Which modules of ours each module names, also for types alone."""
    found: dict[str, set[str]] = {name: set() for name in parsed}
    for name, tree in parsed.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                for alias in node.names:
                    member = f"{node.module}.{alias.name}"
                    found[name] |= {member if member in parsed else node.module or ""} & parsed.keys()
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & parsed.keys()
    return {name: targets - {name} for name, targets in found.items()}


def folders(edges: Mapping[str, set[str]], tree: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, targets in edges.items():
        found[_folder(name, tree)] |= {_folder(target, tree) for target in targets} - {_folder(name, tree)}
    return dict(found)


def _folder(module: str, tree: Path) -> str:
    return str(modules(tree)[module].parent.relative_to(tree))


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of nodes each of which leads to each other, the largest first."""

    def reached(node: str) -> set[str]:
        found: set[str] = set()
        queue = [node]
        for one in queue:
            new = edges.get(one, set()) - found
            found |= new
            queue += new
        return found

    ways = {node: reached(node) for node in edges}
    rings = {frozenset(b for b in ways[a] if a in ways.get(b, ())) for a in edges if a in ways[a]}
    return sorted((sorted(ring) for ring in rings), key=len, reverse=True)


def _spread(numbers: list[int]) -> str:
    ordered = sorted(numbers)
    return f"median {median(ordered):.0f}, 95 % up to {ordered[int(len(ordered) * 0.95)]}, most {ordered[-1]}"


def report(tree: Path) -> str:
    parsed = read(tree)
    sizes = {name: path.read_text("utf-8").count("\n") for name, path in modules(tree).items()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:TOP]
    edges = imports(parsed)
    between = folders(edges, tree)
    count = Counter(_folder(name, tree) for name in parsed)
    fullest, most = count.most_common(1)[0]
    return "\n".join(
        [
            f"files: {len(sizes)}, {sum(sizes.values())} lines; {_spread(list(sizes.values()))}",
            *(f"  {sizes[name]:>5}  {name}" for name in largest),
            f"lines of a function: {_spread(functions(parsed.values()))}",
            f"most attributes/methods, with what is inherited: {_classes(classes(parsed, inherited=True))}",
            f"most attributes/methods of the class itself: {_classes(classes(parsed, inherited=False))}",
            f"folders: {len(count)}, most files in one: {most} ({fullest})",
            f"folders that a folder imports, in all: {sum(map(len, between.values()))}",
            f"circles of files: {_rings(circles(edges))}",
            f"circles of folders: {_rings(circles(between))}",
        ]
    )


def _classes(found: list[Class]) -> str:
    """Those with the most of either."""
    by_attributes = sorted(found, key=lambda one: -one.attributes)[:TOP]
    by_methods = sorted(found, key=lambda one: -one.methods)[:TOP]
    shown = dict.fromkeys([*by_attributes, *by_methods])
    return ", ".join(f"{one.name} {one.attributes}/{one.methods}" for one in shown)


def _rings(found: list[list[str]]) -> str:
    return "; ".join(f"{len(ring)} ({', '.join(ring)})" for ring in found) or "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "tree", nargs="?", type=Path, default=ROOT, help="a checkout of hsrv; default: this one"
    )
    parser.add_argument(
        "--static", action="store_true", help="without the walks, for which a server is started"
    )
    given = parser.parse_args()
    print(report(given.tree.resolve()))
    if not given.static:
        print(walks.report(given.tree.resolve()))


if __name__ == "__main__":
    main()
