"""Times and sizes with a unit: 500ms, 2m, 1h30m; 64KiB, 1.5GB. Pure.

A number alone is seconds or bytes. K, M, G and KiB, MiB, GiB are powers of 1024, as elsewhere on this system (systemd,
containers); KB, MB, GB are powers of 1000.
"""

import re
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "b": 1,
    **{unit: 1024**power for power, letter in enumerate("kmgt", 1) for unit in (letter, f"{letter}ib")},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
}

_NUMBER: Final = r"\d+(?:\.\d+)?"
_part: Final = re.compile(rf"({_NUMBER})\s*(ms|s|min|m|h|d)\s*")
_time: Final = re.compile(rf"(?:{_NUMBER}\s*(?:ms|s|min|m|h|d)\s*)+")
_size: Final = re.compile(rf"({_NUMBER})\s*([kmgt]?i?b|[kmgt])", re.I)

TIME_EXAMPLES: Final = "such as 30, 500ms, 2m or 1h30m"
SIZE_EXAMPLES: Final = "such as 4096, 64KiB or 1.5GB"


def parse_time(text: str) -> float:
    """Seconds. Raises ValueError."""
    text = text.strip()
    if _time.fullmatch(text) is None:
        return float(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in _part.findall(text))


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError."""
    text = text.strip()
    match = _size.fullmatch(text)
    if match is None or match[2].lower() not in _BYTES:
        return int(text)
    return int(float(match[1]) * _BYTES[match[2].lower()])


def size_text(size: int) -> str:
    """As short as it is exact."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return str(size)
