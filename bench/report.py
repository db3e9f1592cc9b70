"""The results as files: raw JSON, Markdown, one SVG."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.scenarios import BY_NAME, Scenario
from bench.stats import summarise
from bench.svg import LIMIT, OURS, THEIRS, Bar, Panel, chart
from bench.tables import Rows, shares, table, values

FOLDER: Final = Path(__file__).parent.parent / "docs" / "benchmarks"

INTRODUCTION: Final = """\
# Results

Made by `make bench`; [README.md](README.md) says how to read them. The raw samples are in [results.json](results.json).

![bar chart of the main figure of every scenario](results.svg)
"""


def section(scenario: Scenario, tables: Mapping[str, Rows]) -> str:
    rows, baseline = tables[scenario.name], tables.get(scenario.baseline)
    text = f"## {scenario.name}\n\n{scenario.title}.\n\n{table(rows, scenario.metrics)}\n"
    if baseline:
        text += f"\nAs a part of `{scenario.baseline}`: {shares(rows, baseline, scenario.metrics[0])}.\n"
    return text


def facts(title: str, found: dict[str, str]) -> str:
    lines = "\n".join(f"- {name}: {value}" for name, value in found.items())
    return f"## {title}\n\n{lines}\n"


def markdown(document: dict[str, Any]) -> str:
    parts = [INTRODUCTION]
    parts += [section(BY_NAME[name], document["scenarios"]) for name in document["scenarios"]]
    parts += [facts("Machine", document["machine"]), facts("Versions", document["versions"])]
    parts += [facts("Run", {name: str(value) for name, value in document["run"].items()})]
    return "\n".join(parts)


def panel(scenario: Scenario, rows: Rows) -> Panel:
    main, bars = scenario.metrics[0], []
    for name, row in rows.items():
        found = values(row, main)
        colour = LIMIT if row.get("limit") else OURS if name == "hsrv" else THEIRS
        bars.append(Bar(name, summarise(found) if found else None, colour))
    unit = f"{main.title}, {'more' if main.more_is_better else 'less'} is better"
    return Panel(scenario.title, unit, main.digits, bars)


def drawing(document: dict[str, Any]) -> str:
    return chart([panel(BY_NAME[name], rows) for name, rows in document["scenarios"].items()])


def write(document: dict[str, Any], folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rounded = json.loads(json.dumps(document), parse_float=lambda text: float(f"{float(text):.6g}"))
    (folder / "results.json").write_text(json.dumps(rounded, indent=1) + "\n")
    (folder / "results.md").write_text(markdown(rounded))
    (folder / "results.svg").write_text(drawing(rounded))


def render(folder: Path = FOLDER) -> None:
    """Markdown and SVG again, from the JSON that is there."""
    write(json.loads((folder / "results.json").read_text()), folder)
