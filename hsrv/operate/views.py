"""Formats a server's answers as text. Pure.

Promises: the text contains no control characters, and text from clients (paths) can't start a new line.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from hsrv.common.visible import visible
from hsrv.rpc.methods import Running
from hsrv.rpc.operator import GenerationStatus, PrestopResult, ProcessStacks, ProcessStatus, ServerStatus
from hsrv.status.model import ProcessView, process_views, streams

_COLUMNS: Final = ("PROCESS", "PID", "STATE", "AGE", "RSS", "PSS", "CPU", "DOING")
_LEFT: Final = frozenset({"PROCESS", "STATE", "DOING"})
_UNITS: Final = ("B", "K", "M", "G", "T")


def status_text(status: ServerStatus) -> str:
    """What `hsrv status` prints."""
    ready = "ready" if status.ready else f"not ready: {status.not_ready_because}"
    parts = [
        f"hsrv {status.hsrv}  {status.app}  pid {status.pid}  up {duration(status.uptime)}  {ready}",
        *(f"  {one.url}{_queue(one.waiting, one.backlog)}" for one in status.listeners),
    ]
    for generation in status.generations:
        parts += [
            "",
            _title(generation),
            *_table(_row(ProcessView(process)) for process in generation.processes),
        ]
    if rows := list(_streams(status)):
        parts += ["", "streams", *_table(rows, ("PATH", "COUNT", "OLDEST"), left={"PATH"})]
    return _text(parts)


def why_text(status: ServerStatus) -> str:
    """What `hsrv status --why` adds: what each process that drains is waiting for."""
    lines = [
        line for process in process_views(status) if process.is_ending for line in _waits_for(process.status)
    ]
    if status.phase == "delaying":
        lines.insert(0, "the server stops: it still accepts until --drain-delay is over")
    return _text(lines or ["nothing drains"])


def _waits_for(process: ProcessStatus) -> list[str]:
    limit = "" if process.deadline is None else f", killed in {duration(process.deadline)}"
    title = f"{process.name} of generation {process.generation} (pid {process.pid}) {process.state}{limit}"
    if process.report is None:
        return [title, "  no answer: busy or hung"]
    more = process.report.running - len(process.report.oldest)
    return [
        f"{title}, waits for {process.report.running}:",
        *(f"  {running_text(one)}" for one in process.report.oldest),
        *([f"  ... and {more} more"] if more > 0 else []),
    ]


def running_text(one: Running) -> str:
    """One request, stream or connection in one line: what, for how long, from which client, in which state."""
    what = f"{one.kind} {one.method} {one.path}".rstrip()
    peer = f" from {one.client}" if one.client else ""
    request = f" request_id={one.request_id}" if one.request_id else ""
    return visible(f"{what} for {duration(one.seconds)}{peer} ({one.state}){request}")


def stacks_text(found: Sequence[ProcessStacks]) -> str:
    """What `hsrv stacks` prints."""
    parts = []
    for one in found:
        parts.append(f"=== {one.name} of generation {one.generation} (pid {one.pid})")
        if one.note:
            parts.append(f"({one.note})")
        parts += [line for text in (one.threads, one.tasks) if text for line in text.rstrip("\n").split("\n")]
        parts.append("")
    return _text(parts).removesuffix("\n")


def prestop_text(result: PrestopResult) -> str:
    """What `hsrv prestop` prints."""
    calm = "no new connections" if result.quiet else "new connections still arrive, but the timeout is over"
    lines = [f"safe to stop after {duration(result.seconds)}: {calm}"]
    lines += [f"  still running: {running_text(one)}" for one in result.running[:10]]
    return _text(lines)


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{visible(line)}\n" for line in lines)


def duration(seconds: float) -> str:
    """In the two largest units: 4.2 s, 3 min 20 s, 5 h 3 min, 12 d 4 h."""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def size(count: int | None) -> str:
    """Bytes in the largest binary unit."""
    if count is None:
        return "-"
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}"


def _queue(waiting: int | None, backlog: int | None) -> str:
    return "" if waiting is None else f"  ({waiting} of {backlog} waiting)"


def _title(generation: GenerationStatus) -> str:
    reload_id = f"  reload {generation.reload_id}" if generation.reload_id else ""
    return f"generation {generation.number}  {generation.state}{reload_id}"


def _row(view: ProcessView) -> tuple[str, ...]:
    process = view.status
    cpu = "-" if process.cpu_percent is None else f"{process.cpu_percent:.0f} %"
    return (
        process.name,
        str(process.pid or "-"),
        process.state,
        duration(process.age),
        size(process.rss),
        size(process.pss),
        cpu,
        _doing(view),
    )


def _doing(view: ProcessView) -> str:
    process = view.status
    if view.is_starting:
        return ""
    if not process.answers or process.report is None:
        return "no answer: busy or hung (see hsrv stacks)"
    report = process.report
    parts = []
    if report.oldest:
        first = report.oldest[0]
        more = f", {report.running - 1} more" if report.running > 1 else ""
        parts.append(f"{first.method or first.kind} {first.path} for {duration(first.seconds)}{more}")
    if report.waiting:
        parts.append(f"{report.waiting} waiting")
    parts.append(f"{report.connections} connections ({report.idle} idle)")
    return "; ".join(parts)


def _streams(status: ServerStatus) -> Iterable[tuple[str, ...]]:
    for process, path, one in streams(status):
        yield f"{path} in {process.name} g{process.generation}", str(one.count), duration(one.oldest)


def _table(
    rows: Iterable[tuple[str, ...]],
    columns: Sequence[str] = _COLUMNS,
    left: "frozenset[str] | set[str]" = _LEFT,
) -> list[str]:
    cells = [tuple(columns), *(tuple(map(visible, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for cell, width, name in zip(row, widths, columns, strict=True)
        ).rstrip()
        for row in cells
    ]
