"""Path patterns."""

from typing import Any

import pytest

from hsrv.globs import LEARNED_LIMIT, Globs, LearnedPaths, pattern_of


def test_no_pattern_matches_nothing() -> None:
    assert not Globs(()).match("")
    assert not Globs(()).match("/x")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/events", "/events", True),
        ("/events", "/events/", False),
        ("/events*", "/events/a/b", True),
        ("/chat/*/events", "/chat/42/events", True),
        ("/chat/*/events", "/chat/events", False),
        ("/a.b", "/axb", False),
    ],
)
def test_a_glob_matches_the_whole_path(pattern: str, path: str, matches: bool) -> None:
    assert Globs(["/other", pattern]).match(path) is matches


@pytest.mark.parametrize(
    ("path", "params", "pattern"),
    [
        ("/events", {}, "/events"),
        ("/chat/42/events", {"id": 42}, "/chat/*/events"),
        ("/chat/42/events", {"id": "other"}, "/chat/42/events"),
        ("/a*b/[x]", {}, "/a[*]b/[[]x]"),
        ("//", {"id": ""}, "//"),
    ],
)
def test_what_a_framework_took_as_parameter_becomes_a_star(
    path: str, params: dict[str, Any], pattern: str
) -> None:
    assert pattern_of(path, params) == pattern
    assert Globs([pattern]).match(path)


def test_the_oldest_learned_patterns_are_forgotten() -> None:
    learned = LearnedPaths()
    learned.add(f"/{number}" for number in range(LEARNED_LIMIT))
    learned.add(["/0", "/new"])
    assert "/0" in learned
    assert "/1" not in learned
    assert learned.globs.match("/new")
    assert not learned.globs.match("/1")
