"""The chart of the benchmark."""

from typing import Final
from xml.etree import ElementTree

from bench.stats import Summary
from bench.svg import LABEL, LIMIT, OURS, THEIRS, VALUE, WIDTH, Bar, Panel, chart

SVG: Final = "{http://www.w3.org/2000/svg}"
PANEL: Final = Panel(
    "Hello <raw> & quick",
    "requests/s",
    0,
    [
        Bar("ours", Summary(500.0, 400.0, 600.0, 3), OURS),
        Bar("theirs", Summary(1000.0, 1000.0, 1000.0, 3), THEIRS),
        Bar("absent", None, LIMIT),
    ],
)


def drawn(*panels: Panel) -> ElementTree.Element:
    return ElementTree.fromstring(chart(panels))


def test_the_length_of_a_bar_is_its_median_and_the_longest_fills_the_width() -> None:
    bars = [rect for rect in drawn(PANEL).iter(f"{SVG}rect") if rect.get("x") == str(LABEL)]
    assert [float(rect.get("width", 0)) for rect in bars] == [
        (WIDTH - LABEL - VALUE) / 2,
        WIDTH - LABEL - VALUE,
    ]
    assert [rect.get("fill") for rect in bars] == [OURS, THEIRS]


def test_names_and_medians_are_written_and_what_is_absent_is_said() -> None:
    texts = ["".join(text.itertext()) for text in drawn(PANEL).iter(f"{SVG}text")]
    assert texts == [
        "Hello <raw> & quick requests/s",
        "ours",
        "500",
        "theirs",
        "1,000",
        "absent",
        "no result",
    ]


def test_panels_stand_below_one_another_inside_the_picture() -> None:
    picture = drawn(PANEL, PANEL)
    tops = [float(text.get("y", 0)) for text in picture.iter(f"{SVG}text")]
    assert tops == sorted(tops)
    assert tops[-1] < float(picture.get("viewBox", "").split()[3])


def test_nothing_but_zeros_and_nothing_at_all_can_be_drawn() -> None:
    zero = Panel("lost", "events", 0, [Bar("a", Summary(0.0, 0.0, 0.0, 1), OURS)])
    assert len(list(drawn(zero).iter(f"{SVG}rect"))) == 2
    assert len(list(drawn().iter(f"{SVG}rect"))) == 1
