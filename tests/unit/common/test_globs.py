"""Path patterns."""

from typing import Any

import pytest

from hsrv.common.globs import LEARNED_LIMIT, PATTERN_LIMIT, Globs, LearnedPaths, pattern_of


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
        ("/files/a/b/c", {"rest": "a/b/c"}, "/files/**"),
        ("/files/a/b/c", {"rest": "/a/b/c"}, "/files/**"),
        ("/u/7/files/a/b", {"id": 7, "rest": "a/b"}, "/u/*/files/**"),
        ("/files/a/b/edit", {"rest": "a/b"}, "/files/a/b/edit"),
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
    assert learned.match("/new")
    assert not learned.match("/1")
    learned.add(["/star/*/x"])
    learned.add(f"/{number}" for number in range(LEARNED_LIMIT))
    assert not learned.match("/star/1/x")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/events", "/events", True),
        ("/events", "/events/", False),
        ("/chat/*/events", "/chat/42/events", True),
        ("/chat/*/events", "/chat/a/b/events", False),
        ("/chat/*/events", "/chat/42/other", False),
        ("/*/*", "/a/b", True),
        ("/a[*]b/[[]x]", "/a*b/[x]", True),
        ("/a[*]b", "/axb", False),
        ("/files/**", "/files/a/b/c", True),
        ("/files/**", "/files/a", True),
        ("/files/**", "/files", False),
        ("/u/*/**", "/u/7/a/b", True),
        ("/u/*/**", "/v/7/a/b", False),
    ],
)
def test_learned_patterns_match_by_segments(pattern: str, path: str, matches: bool) -> None:
    learned = LearnedPaths()
    learned.add(["/other", "/an/*/other", pattern])
    assert learned.match(path) is matches
    assert not LearnedPaths().match(path)


def test_a_pattern_that_a_client_made_up_is_not_kept() -> None:
    learned = LearnedPaths()
    learned.add(["/" + "x" * PATTERN_LIMIT])
    assert learned.patterns == []


def test_thousands_of_learned_paths_cost_nothing_to_learn_and_little_to_match() -> None:
    """One expression over all of them took a second to compile, at each new one."""
    learned = LearnedPaths()
    for number in range(5000):
        learned.add([f"/{'x' * 200}/{number}", f"/*/{number}"])
    assert learned.match(f"/{'x' * 200}/4999")
    assert learned.match("/anything/4999")
