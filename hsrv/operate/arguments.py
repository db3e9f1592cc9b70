"""Values of the commands' own parameters, in the same notation as the options of the server."""

from collections.abc import Callable

import typer

from hsrv.options.units import TIME_EXAMPLES, parse_time


def time_from(least: float) -> Callable[[str | float], float]:
    """A parser of times that are at least this long."""

    def parse(text: str | float) -> float:
        try:
            seconds = text if isinstance(text, float) else parse_time(text)
        except ValueError:
            seconds = -1
        if not least <= seconds < float("inf"):
            raise typer.BadParameter(f"{text!r}: allowed is a time from {least:g}, {TIME_EXAMPLES}")
        return seconds

    return parse
