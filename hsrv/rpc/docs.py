"""Writes docs/control.md from the table of methods: `python -m hsrv.rpc.docs > docs/control.md`."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import msgspec

from hsrv.rpc import methods, operator

HEAD = """# The operator socket

Every running server has a Unix socket `PID.sock` (of the supervisor) in its run directory, mode 0600. Only root and the
user that the server runs as are served, checked by the kernel's peer credentials. The `hsrv` commands are its clients,
and any program can be one: JSON-RPC 2.0, one document per line, at most 1 MiB each, in UTF-8.

- `$/cancel` `{"id": ...}` (notification, both directions): the response is no longer wanted; none is sent.
- `$/progress` `{"id": ..., "step": ...}` (notification, from the server): a step of a long request.
- Errors: -32600 to -32603 and -32700 as in JSON-RPC 2.0; -32002 too many requests in flight; -32003 refused;
  -32004 failed (`data.traceback` may contain the application's traceback); -32005 an upgrade has taken place
  since you connected: the socket is now named after `data.pid`.
- 128 requests in flight per connection, 32 connections; a connection without a request for 300 s is closed.

`hsrv status --json` prints the result of `status`. Within one `status_version` fields may be added; none is removed or
changes its meaning. Times are in seconds, sizes in bytes.

This page is generated from `hsrv/rpc/operator.py`.

## Methods

| method | parameters | result | meaning |
|---|---|---|---|
"""


def render() -> str:
    """The page, in Markdown."""
    rows = [
        f"| `{one.name}` | {_link(one.params)} | {_link(one.result)} | {one.doc} |\n"
        for one in operator.METHODS
    ]
    parts = [HEAD, *rows, "\n## Types\n"]
    parts += [_shape(kind) for kind in _shapes()]
    return "".join(parts)


def _link(kind: type[msgspec.Struct]) -> str:
    return "none" if kind is methods.Empty else f"[{kind.__name__}](#{kind.__name__.lower()})"


def _shapes() -> list[type[msgspec.Struct]]:
    """Every struct that the methods use, in order of appearance."""
    found: dict[type[msgspec.Struct], None] = {}

    def visit(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if kind is methods.Empty or kind in found:
                return
            found[kind] = None
            for field in msgspec.structs.fields(kind):
                visit(field.type)
        for part in get_args(kind):
            visit(part)

    for one in operator.METHODS:
        visit(one.params)
        visit(one.result)
    return list(found)


def _shape(kind: type[msgspec.Struct]) -> str:
    notes = dict(_field_notes(kind))
    title = f"\n### {kind.__name__}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n"
    fields = msgspec.structs.fields(kind)
    if not fields:
        return title
    rows = "".join(
        f"| `{field.name}` | `{_type(field.type)}` | {notes.get(field.name, '')} |\n".replace("`|", "`&#124;")
        for field in fields
    )
    return f"{title}\n| field | type | meaning |\n|---|---|---|\n{rows}"


def _type(kind: Any) -> str:
    text = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    for noise in ("typing.", "hsrv.rpc.operator.", "hsrv.rpc.methods."):
        text = text.replace(noise, "")
    return text.replace("NoneType", "null").replace("None", "null").replace(" | ", " or ")


def _field_notes(kind: type[msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """The strings below the fields, which document them."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body: Iterable[ast.stmt] = getattr(definition, "body", ())
    name = ""
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
        elif name and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            yield name, " ".join(inspect.cleandoc(str(statement.value.value)).split())
            name = ""


if __name__ == "__main__":
    sys.stdout.write(render())
