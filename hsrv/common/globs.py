"""Path patterns: the operator's `--stream` globs and learned paths. Pure."""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import Any, Final

LEARNED_LIMIT: Final = 1024
"""Learned patterns kept. The least recently learned is forgotten first."""

PATTERN_LIMIT: Final = 256
"""Characters of a learned pattern. A longer path was probably made up by a client: not worth memory in every
process."""

PASSING_SECONDS: Final = 300.0
"""A path counts as not a stream for this time, and at most twice as long: its responses may change."""

REST: Final = "**"
"""A last segment of a pattern that matches any number of segments."""


class Globs:
    """A set of path patterns as one expression. `*` matches any characters, also "/"; `?` one; `[...]` one of a set."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._match = re.compile("|".join(map(translate, self.patterns))).match if self.patterns else None

    def match(self, path: str) -> bool:
        return self._match is not None and self._match(path) is not None


class LearnedPaths:
    """Paths whose responses turned out to be streams.

    Learned from responses only, never from what a client claims, so no client can send a path to the pool. Looked up,
    never compiled: if clients choose the paths of streams, one is learned per request.
    """

    def __init__(self) -> None:
        self._patterns: OrderedDict[str, None] = OrderedDict()
        self._shapes: Counter[_Shape] = Counter()
        """Shapes of the patterns with a star, and how many patterns have each."""

    @property
    def patterns(self) -> list[str]:
        """The least recently learned first."""
        return list(self._patterns)

    def add(self, patterns: Iterable[str]) -> None:
        """Patterns over PATTERN_LIMIT are dropped."""
        for pattern in patterns:
            if len(pattern) <= PATTERN_LIMIT:
                self._add(pattern)
        while len(self._patterns) > LEARNED_LIMIT:
            self._forget(next(iter(self._patterns)))

    def _add(self, pattern: str) -> None:
        if pattern in self._patterns:
            self._patterns.move_to_end(pattern)
            return
        self._patterns[pattern] = None
        if (shape := _shape(pattern)) is not None:
            self._shapes[shape] += 1

    def _forget(self, pattern: str) -> None:
        del self._patterns[pattern]
        if (shape := _shape(pattern)) is not None:
            self._shapes[shape] -= 1
            if not self._shapes[shape]:
                del self._shapes[shape]

    def match(self, path: str) -> bool:
        """Whether a pattern matches this path."""
        if not self._patterns:
            return False
        literal = _literal(path)
        if literal in self._patterns:
            return True
        return bool(self._shapes) and self._match_shapes(literal.split("/"))

    def _match_shapes(self, segments: list[str]) -> bool:
        for count, stars, rest in self._shapes:
            if len(segments) < count if rest else len(segments) != count:
                continue
            tried = [*segments[: count - 1], REST] if rest else segments.copy()
            for star in stars:
                tried[star] = "*"
            if "/".join(tried) in self._patterns:
                return True
        return False

    def __contains__(self, pattern: str) -> bool:
        return pattern in self._patterns


class PassingPaths:
    """Paths that were answered with something other than a stream. Forgotten after a while."""

    def __init__(self) -> None:
        self._young, self._old = LearnedPaths(), LearnedPaths()
        self._turned_at = -PASSING_SECONDS

    def add(self, patterns: Iterable[str], now: float) -> None:
        self._turn(now)
        self._young.add(patterns)

    def match(self, path: str, now: float) -> bool:
        """Whether a pattern that is not forgotten matches this path."""
        self._turn(now)
        return self._young.match(path) or self._old.match(path)

    def _turn(self, now: float) -> None:
        late = now - self._turned_at
        if late >= PASSING_SECONDS:
            self._old = self._young if late < 2 * PASSING_SECONDS else LearnedPaths()
            self._young = LearnedPaths()
            self._turned_at = now


_Shape = tuple[int, tuple[int, ...], bool]
"""Number of segments, which of them are `*`, and whether the last is `**`."""


def _shape(pattern: str) -> _Shape | None:
    segments = pattern.split("/")
    stars = tuple(number for number, segment in enumerate(segments) if segment == "*")
    rest = segments[-1] == REST
    return (len(segments), stars, rest) if stars or rest else None


def pattern_of(path: str, path_params: Mapping[str, Any]) -> str:
    """The glob of this path's route: segments that a framework took as parameters become `*`, a last parameter of
    several segments (`{rest:path}`) becomes `**`.

    `path_params` is what Starlette, FastAPI and Litestar leave in the scope; without it the result is the path itself.
    """
    values = {str(value) for value in path_params.values()}
    for value in values:
        rest = value.lstrip("/")
        if "/" in rest and path.endswith(f"/{rest}"):
            return _segments(path.removesuffix(rest), values) + REST
    return _segments(path, values)


def _segments(path: str, values: set[str]) -> str:
    return "/".join(
        "*" if segment and segment in values else _literal(segment) for segment in path.split("/")
    )


def _literal(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
