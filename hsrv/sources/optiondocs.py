"""Writes docs/options.md from the declarations: `python -m hsrv.sources.optiondocs > docs/options.md`."""

import json
import sys
from itertools import groupby
from typing import Any

from hsrv.options.config import OptionInfo, options
from hsrv.options.units import size_text
from hsrv.sources.sources import allowed

HEAD = """# Options

Every option can be set on the command line, in the environment, or in `hsrv.toml` (or `[tool.hsrv]` of
`pyproject.toml`) under its name with underscores. The command line takes precedence over the environment, the
environment over the file. Lists are repeated on the command line and separated by commas in the environment.
`hsrv config` shows every value and where it came from.

`--config FILE` (or `HSRV_CONFIG`) names another file. If there is an `hsrv.toml`, `[tool.hsrv]` is ignored.

Times are seconds, or have a unit: `500ms`, `30s`, `2m`, `1h30m`, `1d`. Sizes are bytes, or have a unit: `64KiB`, `200M`
(powers of 1024), `1.5GB` (powers of 1000). In `hsrv.toml` these are texts: `graceful_timeout = "2m"`.

The names that uvicorn, gunicorn, granian and hypercorn use for these options are accepted too: [names.md](names.md).

`WEB_CONCURRENCY` sets `workers` and `PORT` sets `bind` to `0.0.0.0:PORT`, unless the `HSRV_` variable or the command
line does.

The file of `--env-file` contains `NAME=value` lines: quotes, `# comments` and `export` are supported, nothing is
expanded. Variables that were in the environment when hsrv was started take precedence. Each reload reads the file
again: new variables, changed values and removed variables take effect.

This page is generated from the declarations in `hsrv/options/config.py`.
"""


def render() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    for panel, members in groupby(options(), key=lambda option: option.opt.panel):
        rows = "".join(_row(option) for option in members)
        parts.append(f"\n## {panel}\n\n| option | allowed | default | meaning |\n|---|---|---|---|\n{rows}")
    return "".join(parts)


def _row(option: OptionInfo) -> str:
    if option.name == "app":
        names = "`APP` (argument)"
    else:
        names = f"`{option.flag}`" + (f", `{option.opt.short}`" if option.opt.short else "")
    names += f"<br>`{option.variable}`"
    cells = [names, allowed(option), f"`{_default(option)}`", option.opt.help]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def _default(option: OptionInfo) -> str:
    if option.is_size:
        return size_text(option.default)
    return f"{option.default:g}s" if option.is_time else _plain(option.default)


def _plain(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    sys.stdout.write(render())
