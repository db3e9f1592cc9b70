"""Writes docs/names.md from `hsrv.options.othernames`: `python -m hsrv.sources.namedocs > docs/names.md`."""

import sys

from hsrv.options.othernames import HABITS, ROWS, OtherName
from hsrv.sources.layers import OPTIONS

HEAD = """# Names from other servers

The options and habits of uvicorn, gunicorn, granian and hypercorn, and what hsrv makes of them. "works": hsrv has an
option of this name. "alias": hsrv calls it differently and accepts this name too. Anything else is refused with the
line in the last column.

The same names are accepted on the command line, as keywords of `hsrv.run()`, as keys of the file, as `HSRV_...` and as
`UVICORN_...` variables. `--port` alone changes the port of the configured address, `--host` alone its host. An option
and its alias together are an error, because nobody could say which one counts.

This page is generated from `hsrv/options/othernames.py`. [migration.md](migration.md) compares the servers by subject.

## Habits

| what | with | here |
|---|---|---|
"""


def render() -> str:
    """The page, in Markdown."""
    habits = "".join(f"| {what} | {whose} | {here} |\n" for what, whose, here in HABITS)
    options = "".join(map(_row, ROWS))
    return f"{HEAD}{habits}\n## Options\n\n| option | of | here |\n|---|---|---|\n{options}"


def _row(row: OtherName) -> str:
    names = f"`{row.flag}`" + (f", `{row.short}`" if row.short else "")
    return f"| {names} | {', '.join(row.servers)} | {verdict(row)} |\n"


def verdict(row: OtherName) -> str:
    """What happens to the option here."""
    if row.name in OPTIONS or not (row.to or row.says):
        return "works"
    if row.says:
        return row.says
    if row.to in ("host", "port"):
        return "alias: half of `--bind`"
    ours = OPTIONS[row.to].flag
    if row.off is not None:
        return f"alias: on by default; off is an empty `{ours}`"
    return f"alias of `{ours}`" + ("" if row.form == "{}" else f" `{row.form.format('...')}`")


if __name__ == "__main__":
    sys.stdout.write(render())
