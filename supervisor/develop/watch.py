"""Reports changes of watched files, after a pause in writing (`hsrv start --reload`).

The system's notifications (through watchfiles) only say where to look and when; changes are found by comparing times
and sizes (`hsrv.supervisor.develop.survey`). So no change is lost while folders are created and removed, and no
unchanged file is reported. Only folders with watched files are watched, one by one: an environment or node_modules
would cost thousands of watches.

A change between the import of a file and the first look at it would be missed. So new rules come with a time since
which their files may have been imported: those that have changed since then are reported.

If the system can't watch, all files are looked at every POLL_INTERVAL. watchfiles can poll too, but compares whole
seconds: it would miss the second of two saves within one second.

Promises: there is a call after the last write; only cancellation ends it; after its end no thread is left.
"""

import math
import os
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter
from anyio.abc import TaskStatus
from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from hsrv.develop.watchrules import Stale, WatchRules
from hsrv.logs.logging import get_logger
from hsrv.supervisor.develop.survey import FOLDERS_LIMIT, Stamp, SurveyResult, stamp_of, survey
from hsrv.supervisor.runtime.threads import in_thread

QUIET: Final = 0.025
"""Seconds without a write after which a file counts as complete. With two steps it is the delay of a change."""

BACK_SOON: Final = 0.1
"""Seconds for a file that is missing or empty: some editors remove or empty it first."""

INSTALLING: Final = 0.4
"""Seconds for libraries: an installation writes file after file."""

LONGEST: Final = 0.5
LONGEST_INSTALLING: Final = 5.0
"""Seconds after the first change at which it is reported even if writing goes on."""

STEP: Final = 10
STEP_SETTLING: Final = 5
"""Milliseconds between two checks of watchfiles for notifications."""

GROUP: Final = 20
"""Milliseconds for which watchfiles collects notifications. This module collects for longer, but has to know of
them."""

IDLE: Final = 1000
"""Milliseconds between checks whether a root was moved or has come back, which the system doesn't report."""

FLOOD: Final = 1000
"""Number of notifications at once from which on the system may have dropped some (fs.inotify.max_queued_events): then
all files are looked at."""

POLL_INTERVAL: Final = 0.3
POLL_SHARE: Final = 10
"""The pause of polling is at least this multiple of the duration of a look."""

TRIES: Final = 5
"""Attempts in a row at which a folder was gone before it could be watched."""

_HINT: Final = "on Linux raise fs.inotify.max_user_watches and max_user_instances"

OnChange = Callable[[frozenset[Path]], None]

log = get_logger("hsrv.supervisor")


async def watch(rules: WatchRules, on_change: OnChange) -> None:
    """Call `on_change` with files that were changed, added or removed, until cancelled."""
    await Watcher(rules, on_change).run()


class Watcher:
    """A watch with rules that may change: a new version of the code imports other modules."""

    def __init__(self, rules: WatchRules, on_change: OnChange, since: float = math.inf) -> None:
        """`since`: see `change_rules`."""
        self._rules = rules
        self._since = since
        self._new_rules: WatchRules | None = None
        self._new_since = math.inf
        self._on_change = on_change
        self._is_stopped = False
        self._is_polling = False
        self._found = SurveyResult()
        self._known: dict[str, Stamp] = {}
        """Stamps as last reported."""
        self._unsettled: set[str] = set()
        self._first = self._last = 0.0
        """Times of the first and the last change of the unsettled files."""
        self._complaints: set[str] = set()
        self._thread = CapacityLimiter(1)

    def change_rules(self, rules: WatchRules, since: float = math.inf) -> None:
        """Use these rules from now on. Files that only they include are taken as they are, unless they have changed
        `since` (seconds since the epoch)."""
        if rules != (self._new_rules or self._rules):
            self._new_rules, self._new_since = rules, min(since, self._new_since)

    def is_set(self) -> bool:
        """Called by watchfiles in its thread: whether to stop waiting."""
        return self._is_stopped or self._new_rules is not None

    async def run(self) -> None:
        """Until cancelled. Only once."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._stop_at_the_end)
            await self._begin()
            failures = 0
            while True:
                if self._new_rules is not None:
                    await self._take(self._new_rules, self._new_since)
                if self._is_polling:
                    await self._poll()
                elif await self._listen():
                    failures = 0
                else:
                    failures += 1
                    if failures == TRIES:
                        self._fall_back("folders go faster than they can be watched")

    async def _stop_at_the_end(self, *, task_status: TaskStatus[None]) -> None:
        """anyio waits for a thread even after a cancellation, so the thread has to be told."""
        try:
            task_status.started()
            await anyio.sleep_forever()
        finally:
            self._is_stopped = True

    # notifications

    async def _listen(self) -> bool:
        """Until the folders have to be watched again. False: one of them did not exist."""
        folders = self._found.folders.keys()
        try:
            notify = await in_thread(_notify, list(folders), limiter=self._thread)
        except FileNotFoundError:
            await self._look()
            return False
        except (OSError, UnicodeError, WatchfilesRustInternalError) as error:
            self._fall_back(_reason(error))
            return True
        with notify:
            await self._look()  # changes before the watch began
            while folders == self._found.folders.keys() and not self.is_set():
                if await self._hear(notify):
                    await self._look()
                    break
                self._tell_settled()
        return True

    async def _hear(self, notify: RustNotify) -> bool:
        """Wait for notifications, until something may be due. True: everything has to be looked at."""
        wait = max(1, round(1000 * self._due_in())) if self._unsettled else IDLE
        step = STEP_SETTLING if self._unsettled else STEP
        try:
            reports = await in_thread(notify.watch, GROUP, step, wait, self, limiter=self._thread)
        except WatchfilesRustInternalError as error:
            self._fall_back(_reason(error))
            return True
        if isinstance(reports, str):  # there are none
            return not self._unsettled and self._found.roots_moved()
        self._unsettle({path for _, path in reports if self._found.counts(path)})
        return len(reports) >= FLOOD or any(self._is_about_folders(kind, path) for kind, path in reports)

    def _is_about_folders(self, kind: int, path: str) -> bool:
        """Whether the set of watched folders changes."""
        if path in self._found.folders:
            return kind != Change.modified
        folder, name = os.path.split(path)
        rules = self._found.folders.get(folder)
        if rules is None:
            return True  # not a folder that is watched
        return rules.shapes(name) or (rules.folder(name) is not None and Path(path).is_dir())

    def _fall_back(self, why: str) -> None:
        log.warning("watching files by polling", why=why, every=POLL_INTERVAL, hint=_HINT)
        self._poll_from_now_on()

    def _poll_from_now_on(self) -> None:
        """Without libraries: they are many, and change rarely."""
        self._is_polling = True
        self._rules = self._rules.without_libraries()

    # looks

    async def _poll(self) -> None:
        began = time.monotonic()
        await self._look()
        self._tell_settled()
        pause = max(POLL_INTERVAL, POLL_SHARE * (time.monotonic() - began))
        await anyio.sleep(min(pause, self._due_in()) if self._unsettled else pause)

    async def _survey(self, rules: WatchRules, since: float = math.inf) -> SurveyResult:
        found = await in_thread(survey, rules, lambda: self._is_stopped, since, limiter=self._thread)
        await anyio.lowlevel.checkpoint()  # if cancelled, the result is incomplete
        return found

    async def _begin(self) -> None:
        if _asked_to_poll():
            log.info("watching files by polling", why="asked for, or this is WSL", every=POLL_INTERVAL)
            self._poll_from_now_on()
        self._found = await self._survey(self._rules, self._since)
        self._complain()
        self._know(self._found.stamps.keys())

    async def _look(self) -> None:
        """Look at everything. Changed files have to settle."""
        before, self._found = self._found, await self._survey(self._rules)
        self._complain()
        stamps = self._found.stamps
        self._unsettle(
            {
                path
                for path in before.stamps.keys() | stamps.keys()
                if before.stamps.get(path) != stamps.get(path)
            }
        )

    async def _take(self, rules: WatchRules, since: float) -> None:
        self._new_rules, self._new_since = None, math.inf
        if self._is_polling:
            rules = rules.without_libraries()
        found = await self._survey(rules, since)
        # With the old rules, and later: a file created in between isn't taken for one that only the new rules include.
        await self._look()
        added = found.stamps.keys() - self._found.stamps.keys() - self._known.keys()
        self._rules, self._found = rules, found
        self._complain()
        self._know(added)
        self._unsettle({path for path, stamp in self._known.items() if found.stamps.get(path) != stamp})

    def _know(self, added: Set[str]) -> None:
        """Include these files from now on, as they are, except those that have changed since they may have been
        imported."""
        recent = self._found.recent
        self._known |= {path: self._found.stamps[path] for path in added - recent}
        self._unsettle(set(added & recent))

    def _complain(self) -> None:
        """Log each problem once, until it is solved."""
        rules, found = self._rules, self._found
        complaints = {folder: f"folder not watched: {why}" for folder, why in found.unreadable.items()}
        for folder in map(str, (rules.app_dir, *rules.packages)):
            if found.roots.get(folder) is None:
                complaints[folder] = "watched folder is gone, waiting for it"
        if found.is_cut:
            complaints[str(rules.app_dir)] = f"only {FOLDERS_LIMIT} folders are watched"
        for folder in complaints.keys() - self._complaints:
            log.warning(complaints[folder], folder=folder)
        self._complaints = set(complaints)

    # changes

    def _unsettle(self, paths: set[str]) -> None:
        if paths:
            self._last = time.monotonic()
            self._first = self._first if self._unsettled else self._last
            self._unsettled |= paths

    def _due_in(self) -> float:
        """Seconds until the unsettled files are to be reported."""
        if self._rules.stale(map(Path, self._unsettled)) is Stale.LIBRARIES:
            due = min(self._last + INSTALLING, self._first + LONGEST_INSTALLING)
        else:
            quiet = QUIET if all(map(self._is_whole, self._unsettled)) else BACK_SOON
            due = min(self._last + quiet, self._first + LONGEST)
        return max(0.0, due - time.monotonic())

    def _is_whole(self, path: str) -> bool:
        """Whether it has content, or had none before."""
        now, before = stamp_of(path), self._known.get(path)
        if now is None:
            return before is None
        return now.size > 0 or (before is not None and before.size == 0)

    def _tell_settled(self) -> None:
        if self._unsettled and not self._due_in():
            paths, self._unsettled = self._unsettled, set()
            changed = frozenset(Path(path) for path in paths if self._is_news(path))
            if changed:
                self._on_change(changed)

    def _is_news(self, path: str) -> bool:
        """Whether a file differs from its last reported state. Its present state counts as reported then."""
        now, before = stamp_of(path), self._known.pop(path, None)
        self._found.stamps.pop(path, None)
        if now is None or not self._found.counts(path):
            return now is None and before is not None
        self._known[path] = self._found.stamps[path] = now
        return now != before


def _notify(folders: list[str]) -> RustNotify:
    return RustNotify(folders, False, False, 0, False, False)


def _asked_to_poll() -> bool:
    """By the variable of watchfiles, or on WSL, which doesn't report changes on the Windows side."""
    asked = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower()
    if asked:
        return asked not in ("false", "disable", "disabled")
    return "microsoft-standard" in os.uname().release.lower()


def _reason(error: Exception) -> str:
    """The message without the paths that watchfiles appends."""
    return str(error).partition(" about [")[0]
