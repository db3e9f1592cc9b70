"""Results as horizontal bars. Pure: text in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bench.stats import Summary
from bench.tables import number

WIDTH, LABEL, VALUE = 860, 130, 110
BAR, GAP, HEAD, MARGIN = 16, 6, 40, 20
OURS, THEIRS, LIMIT = "#1f6feb", "#8c959f", "#d0d7de"


@dataclass(frozen=True)
class Bar:
    name: str
    figure: Summary | None
    """None: there is no result, and the chart says so."""
    colour: str


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    digits: int
    bars: Sequence[Bar]


STYLE: Final = "<style>text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.unit{fill:#59636e}</style>"


def height(panel: Panel) -> int:
    return HEAD + len(panel.bars) * (BAR + GAP) + MARGIN


def bar(item: Bar, top: int, scale: float, digits: int) -> list[str]:
    """The median as a bar, lowest and highest as a line over it."""
    middle = top + BAR / 2
    parts = [f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(item.name)}</text>']
    if item.figure is None:
        return [*parts, f'<text class="unit" x="{LABEL}" y="{top + 13}">no result</text>']
    length, low, high = (value * scale for value in (item.figure.median, item.figure.low, item.figure.high))
    parts += [
        f'<rect x="{LABEL}" y="{top}" width="{max(length, 1):.1f}" height="{BAR}" fill="{item.colour}"/>',
        f'<path d="M{LABEL + low:.1f} {middle}H{LABEL + high:.1f}" stroke="#1f2328" stroke-width="1.5"/>',
        f'<text x="{LABEL + max(length, high) + 8:.1f}" y="{top + 13}">{number(item.figure.median, digits)}</text>',
    ]
    return parts


def draw(panel: Panel, top: int) -> list[str]:
    """From zero, always: a bar's length is its value."""
    highest = max((item.figure.high for item in panel.bars if item.figure), default=0.0)
    scale = (WIDTH - LABEL - VALUE) / highest if highest > 0 else 0.0
    title = f'{escape(panel.title)} <tspan class="unit">{escape(panel.unit)}</tspan>'
    parts = [f'<text class="title" x="{MARGIN}" y="{top + 22}">{title}</text>']
    for index, item in enumerate(panel.bars):
        parts += bar(item, top + HEAD + index * (BAR + GAP), scale, panel.digits)
    return parts


def chart(panels: Sequence[Panel]) -> str:
    total = sum(map(height, panels)) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" role="img">',
        STYLE,
        f'<rect width="{WIDTH}" height="{total}" fill="#ffffff"/>',
    ]
    top = MARGIN // 2
    for panel in panels:
        parts += draw(panel, top)
        top += height(panel)
    return "\n".join([*parts, "</svg>", ""])
