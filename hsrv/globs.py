"""Path patterns: the operator's `--stream` globs and the paths that turned out to be streams. Pure."""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import Any, Final

LEARNED_LIMIT: Final = 1024
"""Learned patterns kept. The least recently learned is forgotten first."""


class Globs:
    """A set of path patterns as one expression. `*` matches any characters, also "/"; `?` one; `[...]` one of a set."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._match = re.compile("|".join(map(translate, self.patterns))).match if self.patterns else None

    def match(self, path: str) -> bool:
        return self._match is not None and self._match(path) is not None


class LearnedPaths:
    """Paths whose responses turned out to be streams.

    Learned from responses only: what a client claims teaches nothing, so no client can send a path to the pool.
    """

    def __init__(self) -> None:
        self._patterns: OrderedDict[str, None] = OrderedDict()
        self.globs = Globs(())

    def add(self, patterns: Iterable[str]) -> None:
        for pattern in patterns:
            self._patterns[pattern] = None
            self._patterns.move_to_end(pattern)
        while len(self._patterns) > LEARNED_LIMIT:
            self._patterns.popitem(last=False)
        self.globs = Globs(self._patterns)

    def __contains__(self, pattern: str) -> bool:
        return pattern in self._patterns


def pattern_of(path: str, path_params: Mapping[str, Any]) -> str:
    """The glob that stands for this path's route: segments that a framework took as parameters become `*`.

    `path_params` is what Starlette, FastAPI and Litestar leave in the scope; without it the path stands for itself.
    """
    values = {str(value) for value in path_params.values()}
    return "/".join(
        "*" if segment and segment in values else _literal(segment) for segment in path.split("/")
    )


def _literal(segment: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", segment)
