"""Looks at all watched files: their folders, and the times and sizes that show a change.

Blocking; for a thread. Each folder is visited once, under the first of its names: symbolic links may form a cycle, and
the system watches folders, not names. Paths are strings here: creating a Path costs more than the look.
"""

import math
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from hsrv.develop.watchrules import GITIGNORE, FolderRules, WatchRules, folders_above

FOLDERS_LIMIT: Final = 20_000
"""Folders that are watched, the nearest to the roots first: a project has hundreds, a disk linked into it
more than can be searched."""

GITIGNORE_LIMIT: Final = 1024 * 1024
"""Bytes of a .gitignore that are read."""

FRESH: Final = 0.02
"""Seconds. File times advance in steps of a few milliseconds: a file that was just written may be written again without
a new time, so an equal time doesn't prove that it is unchanged."""


class Stamp(NamedTuple):
    """Attributes that change with the content of a file, so not its permissions."""

    modified: int
    size: int
    inode: int
    fresh: int
    """0, or the time of the look, which makes it differ from any other."""


def stamp_of(path: str) -> Stamp | None:
    """None: there is no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116  # texts, as said above
    except (OSError, ValueError):
        return None
    return None if stat.S_ISDIR(found.st_mode) else _stamp(found)


def _stamp(found: os.stat_result) -> Stamp:
    now = time.time_ns()
    fresh = now if abs(now - found.st_mtime_ns) < FRESH * 1e9 else 0
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino, fresh)


@dataclass
class SurveyResult:
    """The result of a survey."""

    folders: dict[str, FolderRules] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    """Of every watched file."""
    roots: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    """The identity of each root; None: it doesn't exist."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Unreadable folders, and the reasons."""
    is_cut: bool = False
    """There are more than FOLDERS_LIMIT."""
    since: float = math.inf
    recent: set[str] = field(default_factory=set)
    """Files that were written or renamed since then (seconds since the epoch)."""

    def counts(self, path: str) -> bool:
        folder, name = os.path.split(path)
        rules = self.folders.get(folder)
        return rules is not None and rules.counts(name)

    def note(self, path: str, found: os.stat_result) -> None:
        self.stamps[path] = _stamp(found)
        if found.st_ctime >= self.since - FRESH:  # a file that was moved here keeps its modification time
            self.recent.add(path)

    def roots_moved(self) -> bool:
        """Whether a root is another folder now: replaced, removed or created."""
        return any(_identity(root) != identity for root, identity in self.roots.items())


def survey(rules: WatchRules, is_stopped: Callable[[], bool], since: float = math.inf) -> SurveyResult:
    """Look at everything. After `is_stopped`, the result is incomplete."""
    found = SurveyResult(since=since)
    for root in rules.roots():
        if root.path not in found.roots:
            found.roots[root.path] = _identity(root.path)
        rules_here = root
        for folder, text in _gitignores_above(root.path):
            rules_here = rules_here.under(folder, text)
        _walk(rules_here, found, is_stopped)
    return found


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)  # noqa: PTH116  # texts, as said above
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _walk(root: FolderRules, found: SurveyResult, is_stopped: Callable[[], bool]) -> None:
    seen = {_identity(folder) for folder in found.folders}
    queue = deque([root])
    while queue and not is_stopped():
        rules = queue.popleft()
        identity = _identity(rules.path)
        if identity is None or identity in seen:
            continue
        if len(found.folders) >= FOLDERS_LIMIT:
            found.is_cut = True
            return
        seen.add(identity)
        try:
            queue.extend(_look_into(rules, found))
        except FileNotFoundError:
            continue  # it was just removed
        except OSError as error:
            found.unreadable[rules.path] = error.strerror or str(error)


def _look_into(rules: FolderRules, found: SurveyResult) -> list[FolderRules]:
    """Note a folder and its files; returns the folders in it."""
    with os.scandir(rules.path) as listing:
        entries = list(listing)
    names = {entry.name for entry in entries}
    opened = rules.opened(names, _read(f"{rules.path}/{GITIGNORE}") if GITIGNORE in names else "")
    if opened is None:
        return []
    found.folders[opened.path] = opened
    inside = []
    for entry in entries:
        with suppress(OSError):  # it was just removed, or is a dangling link
            if entry.is_dir():
                inside.append(opened.folder(entry.name))
            elif opened.counts(entry.name):
                found.note(os.path.join(opened.path, entry.name), os.stat(entry.path))  # noqa: PTH116, PTH118  # texts
    return [rules for rules in inside if rules is not None]


def _gitignores_above(root: str) -> Iterator[tuple[str, str]]:
    """The .gitignore files that apply to a root, up to the one beside .git; the outermost first."""
    found = []
    if not Path(root, ".git").exists():
        for folder in folders_above(root):
            if text := _read(f"{folder}/{GITIGNORE}"):
                found.append((folder, text))
            if Path(folder, ".git").exists():
                return reversed(found)
    return iter(())  # no repository: git would use none of them


def _read(path: str) -> str:
    """ "" if it can't be read: it is only a convenience."""
    try:
        with Path(path).open("rb") as file:
            return file.read(GITIGNORE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
