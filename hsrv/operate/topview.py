"""The screen of `hsrv top`: lines from a status, its rates and the size of the terminal. Pure.

Promises: never more lines than the screen has, none wider; less important columns are left out if there is no room,
rows that don't fit are counted. Text from clients is shown without control characters.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hsrv.common.visible import visible
from hsrv.operate.views import duration, size
from hsrv.rpc.operator import Occupying, ServerStatus, TimelineEvent
from hsrv.status.model import ProcessView, process_views, streams_by_path
from hsrv.status.rates import Rates

GAP: Final = 2
"""Cells between two columns."""

SILENT: Final = 1.0
"""Seconds without a turn of the event loop that are shown."""

LONG: Final = 0.5
"""Seconds after which a request gets its own line if the DOING column doesn't fit."""

STREAM_LINES: Final = 5
EVENT_LINES: Final = 5
"""Lines reserved for events, however many processes there are."""

_LEVELS: Final = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
_STATES: Final = {"serving": "green", "draining": "yellow", "dismissed": "yellow", "killed": "red"}


@dataclass(frozen=True)
class Column:
    title: str
    width: int
    text: Callable[[Any], str]
    rank: int = 0
    """0 is always shown; the others in ascending order, as long as there is room."""
    left: bool = False
    style: Callable[[Any], str] = lambda row: ""
    grows: bool = False
    """Takes the remaining room."""


@dataclass(frozen=True)
class Order:
    """A sort order of processes."""

    key: str
    """The key that selects it."""
    name: str
    short: str
    of: Callable[[ProcessView], Any]
    largest_first: bool = True


ORDERS: Final = (
    Order("n", "name", "name", lambda row: (row.status.generation, row.status.role, row.status.slot), False),
    Order("c", "cpu", "cpu", lambda row: row.cpu or 0.0),
    Order("m", "memory", "mem", lambda row: row.memory or 0),
    Order("r", "requests", "req", lambda row: row.requests or 0.0),
    Order("f", "in flight", "run", lambda row: row.running or 0),
    Order("s", "streams", "str", lambda row: row.streams or 0),
    Order("a", "age", "age", lambda row: row.status.age),
)


@dataclass(frozen=True)
class ViewSettings:
    """The user's view settings."""

    order: Order = ORDERS[0]
    reverse: bool = False
    silence: float = 0.0
    """Seconds without an answer from the server."""

    def press(self, key: str) -> "ViewSettings":
        """The settings after a key; an unknown key changes nothing."""
        if key == "R":
            return replace(self, reverse=not self.reverse)
        chosen = next((order for order in ORDERS if order.key == key), None)
        return replace(self, order=chosen, reverse=False) if chosen is not None else self


PROCESS_COLUMNS: Final = (
    Column("PROCESS", 9, lambda row: row.status.name, left=True),
    Column("GEN", 3, lambda row: str(row.status.generation), 4),
    Column("PID", 7, lambda row: str(row.status.pid or "-"), 3),
    Column(
        "STATE",
        9,
        lambda row: row.status.state,
        1,
        left=True,
        style=lambda row: _STATES.get(row.status.state, "cyan"),
    ),
    Column("AGE", 11, lambda row: duration(row.status.age), 5),
    Column("REQ/S", 7, lambda row: rate(row.requests)),
    Column("RUN", 4, lambda row: count(row.running)),
    Column("STREAMS", 7, lambda row: count(row.streams), 6),
    Column("CONN", 5, lambda row: count(row.gauge("connections")), 7),
    Column("CPU", 5, lambda row: percent(row.cpu)),
    Column("MEM", 6, lambda row: size(row.memory)),
    Column("DOING", 20, lambda row: doing(row), 2, left=True, grows=True),  # noqa: PLW0108  # defined below
)

ROLE_COLUMNS: Final = (
    Column("ROLE", 9, lambda one: one[0], left=True),
    Column("REQ/S", 8, lambda one: rate(one[1].requests)),
    Column("P50", 7, lambda one: seconds(one[1].p50)),
    Column("P99", 7, lambda one: seconds(one[1].p99)),
    Column("FAIL/S", 7, lambda one: rate(one[1].failed), 1, style=lambda one: "red" if one[1].failed else ""),
    Column("SHED/S", 7, lambda one: rate(one[1].shed), 4, style=lambda one: "red" if one[1].shed else ""),
    Column("WAIT99", 7, lambda one: seconds(one[1].queue_wait_p99), 2),
    Column("LAG99", 7, lambda one: seconds(one[1].loop_lag_p99), 5),
    Column("HANDOFF/S", 9, lambda one: rate(one[1].handoffs), 3),
    Column("OUT/S", 7, lambda one: size(int(one[1].bytes_out)), 6),
)


def screen(
    status: ServerStatus, rates: Rates | None, settings: ViewSettings, width: int, height: int
) -> list[Text]:
    """At most `height` lines of at most `width` cells."""
    head = [*_header(status, settings), *_roles(rates, width)]
    streams = _streams(status, width)
    room = max(1, height - len(head) - len(streams) - EVENT_LINES - 3)
    listed = _processes(status, rates, settings, width, room)
    above = [*head, *listed, *streams]
    events = _events(status.events, height - len(above) - 1)
    body = [*above, *events][: height - 1]
    lines = [*body, *(Text() for _ in range(height - 1 - len(body))), _footer(settings, width)][:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines


# parts


def _header(status: ServerStatus, settings: ViewSettings) -> Iterator[Text]:
    yield Text.assemble(
        ("hsrv", "bold"),
        visible(f" {status.hsrv}  {status.app}  pid {status.pid}  up {duration(status.uptime)}"),
    )
    state = Text(visible(status.phase), "yellow") if status.phase != "running" else Text()
    state.append("  " if state else "")
    if status.ready:
        state.append("ready", "green")
    else:
        state.append(f"not ready: {visible(status.not_ready_because)}", "bold red")
    for generation in status.generations:
        state.append(visible(f"  generation {generation.number} {generation.state}"))
    yield state
    if settings.silence >= SILENT:
        yield Text(
            f"no answer from the server for {settings.silence:.0f} s: the data below is old", "bold red"
        )
    for one in status.listeners:
        queue = "" if one.waiting is None else f"  {one.waiting} of {one.backlog} waiting to be accepted"
        yield Text(f"{visible(one.url)}{queue}", "dim" if not one.waiting else "yellow")
    if status.deaths:
        yield Text("deaths: " + ", ".join(f"{visible(name)} {n}" for name, n in status.deaths.items()), "red")


def _roles(rates: Rates | None, width: int) -> Iterator[Text]:
    yield Text()
    if rates is None:
        yield Text("rates follow after the second sample", "dim")
        return
    columns = fit(ROLE_COLUMNS, width)
    yield _title(columns)
    for role in rates.roles.items():
        yield _line(columns, role)


def _processes(
    status: ServerStatus, rates: Rates | None, settings: ViewSettings, width: int, room: int
) -> Iterator[Text]:
    columns = fit(PROCESS_COLUMNS, width)
    yield Text()
    yield _title(columns)
    rows = _sorted(status, rates, settings)
    lines: list[Text] = []
    for left, row in zip(range(len(rows), 0, -1), rows, strict=True):
        new = [_line(columns, row), *_beneath(columns, row)]
        if len(lines) + len(new) + (left > 1) > room:
            lines.append(Text(f"... and {left} more", "dim"))
            break
        lines += new
    yield from lines


def _sorted(status: ServerStatus, rates: Rates | None, settings: ViewSettings) -> list[ProcessView]:
    rows = sorted(process_views(status, rates), key=ORDERS[0].of)  # the second sort is stable
    return sorted(rows, key=settings.order.of, reverse=settings.order.largest_first != settings.reverse)


def _beneath(columns: Sequence[Column], row: ProcessView) -> Iterator[Text]:
    """A notable activity, if the DOING column doesn't fit."""
    board = row.status.board
    if board is None or any(column.title == "DOING" for column in columns):
        return
    busy = board.current or board.oldest
    if board.loop_silence >= SILENT or (busy is not None and busy.seconds >= LONG):
        yield Text(f"  {visible(doing(row))}", "yellow")


def _streams(status: ServerStatus, width: int) -> list[Text]:
    most = streams_by_path(status)
    if not most:
        return []
    columns: tuple[Column, ...] = (
        Column("STREAMS", 7, lambda one: str(one[1])),
        Column("OLDEST", 11, lambda one: duration(one[2])),
        Column("PATH", 20, lambda one: one[0], left=True, grows=True),
    )
    columns = fit(columns, width)
    lines = [Text(), _title(columns), *(_line(columns, one) for one in most[:STREAM_LINES])]
    if len(most) > STREAM_LINES:
        lines.append(Text(f"... and {len(most) - STREAM_LINES} paths more", "dim"))
    return lines


def _events(events: Sequence[TimelineEvent], room: int) -> Iterator[Text]:
    """The newest, in chronological order."""
    if room < 3 or not events:
        return
    yield Text()
    yield Text("EVENTS", "bold dim")
    for one in events[-(room - 2) :]:
        details = "  ".join(visible(f"{name}={value}") for name, value in one.details.items())
        yield Text.assemble(
            (f"{datetime.fromtimestamp(one.at):%H:%M:%S} ", "dim"),  # noqa: DTZ006  # the viewer's time zone
            (visible(one.event), _LEVELS.get(one.level, "")),
            (f"  {details}", "dim"),
        )


def _footer(settings: ViewSettings, width: int) -> Text:
    line = Text("q quit  R reverse  sort:", "dim")
    for order in ORDERS:
        word = order.name if width >= 90 else order.short
        line.append(" ")
        line.append(f"{order.key} {word}", "reverse" if order == settings.order else "")
    return line


# cells


def fit(columns: Sequence[Column], width: int) -> tuple[Column, ...]:
    """The columns that fit, in their order; a growing one takes the remaining room."""
    chosen: set[str] = set()
    used = -GAP
    for column in sorted(columns, key=lambda one: one.rank):
        if not column.rank or used + GAP + column.width <= width:
            chosen.add(column.title)
            used += GAP + column.width
    spare = max(0, width - used)
    return tuple(
        replace(column, width=column.width + spare) if column.grows else column
        for column in columns
        if column.title in chosen
    )


def _title(columns: Sequence[Column]) -> Text:
    return Text((" " * GAP).join(_cell(column, column.title) for column in columns), "bold dim")


def _line(columns: Sequence[Column], row: Any) -> Text:
    line = Text()
    for n, column in enumerate(columns):
        line.append(" " * GAP if n else "")
        line.append(_cell(column, visible(column.text(row))), column.style(row))
    return line


def _cell(column: Column, text: str) -> str:
    if cell_len(text) > column.width:
        text = set_cell_size(text, column.width - 1) + "…"
    pad = " " * (column.width - cell_len(text))
    return text + pad if column.left else pad + text


def doing(process: ProcessView) -> str:
    """What a process is doing, according to its scoreboard: also when it can't answer."""
    board = process.status.board
    if board is None or process.is_starting:
        return ""
    parts = []
    if board.thread_silence >= SILENT:
        parts.append(f"no thread has run for {duration(board.thread_silence)}")
    elif board.loop_silence >= SILENT:
        parts.append(f"event loop blocked for {duration(board.loop_silence)}")
    if (busy := board.current or board.oldest) is not None:
        parts.append(request(busy))
    if board.note:
        parts.append(board.note.splitlines()[0])
    if waiting := board.gauges.get("waiting", 0):
        parts.append(f"{waiting} waiting")
    if process.status.deadline is not None:
        parts.append(f"killed in {duration(process.status.deadline)}")
    return "; ".join(parts)


def request(one: Occupying) -> str:
    return f"{one.method} {one.path} for {duration(one.seconds)}"


def rate(value: float | None) -> str:
    """Per second, in at most seven cells."""
    if value is None:
        return "-"
    if value >= 1_000_000:
        return f"{value / 1_000_000:.1f}M"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def count(value: int | None) -> str:
    return "-" if value is None else str(value)


def percent(cores: float | None) -> str:
    return "-" if cores is None else f"{cores * 100:.0f}%"


def seconds(value: float | None) -> str:
    """A response time, in at most seven cells: 85 µs, 1.2 ms, 240 ms, 3.1 s, 45 s."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1000:.1f} ms" if value < 0.01 else f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"
