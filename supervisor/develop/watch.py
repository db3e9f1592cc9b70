"""Tells when files that count have changed, once they have settled (`hsrv start --reload`).

What the system reports (through watchfiles) only says where to look and when; what changed is found by comparing times
and sizes (`hsrv.supervisor.develop.survey`). So nothing is lost while folders come and go, and a report is never about
a file that is as it was. Only the folders that count are watched, one by one: an environment or node_modules would cost
thousands of watches.

Between the import of a file and our first look at it nobody compares. So whoever gives us rules says since when the
files may have been imported: those that have changed since are told.

Where the system can't watch, we look ourselves every POLL_INTERVAL. watchfiles can poll too, but compares whole
seconds: it would miss the second of two saves within one.

Promises: after the last write comes a call; nothing but cancellation ends it; once it has ended no thread waits here.
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
"""Seconds without a write after which a file counts as complete. With two steps it is what a change waits."""

BACK_SOON: Final = 0.1
"""Seconds for a file that is gone or empty: some editors save by removing or emptying it first."""

INSTALLING: Final = 0.4
"""Seconds for libraries: what installs them writes file after file."""

LONGEST: Final = 0.5
LONGEST_INSTALLING: Final = 5.0
"""Seconds after the first change at which it is told even though writing goes on."""

STEP: Final = 10
STEP_SETTLING: Final = 5
"""Milliseconds. So often watchfiles looks whether the system has reported something."""

GROUP: Final = 20
"""Milliseconds for which watchfiles collects reports while more come. We collect for longer, but have to know."""

IDLE: Final = 1000
"""Milliseconds between looks whether a root was moved away or has come back, which the system doesn't tell."""

FLOOD: Final = 1000
"""Reports at once from which on the system may have dropped some (fs.inotify.max_queued_events): look at everything."""

POLL_INTERVAL: Final = 0.3
POLL_SHARE: Final = 10
"""Polling waits at least this many times as long as a look takes."""

TRIES: Final = 5
"""Times in a row that a folder may be gone before it can be watched."""

_HINT: Final = "on Linux raise fs.inotify.max_user_watches and max_user_instances"

OnChange = Callable[[frozenset[Path]], None]

log = get_logger("hsrv.supervisor")


async def watch(rules: WatchRules, on_change: OnChange) -> None:
    """Call `on_change` with the files that have changed, were added or are gone, until cancelled."""
    await Watcher(rules, on_change).run()


class Watcher:
    """One watch, whose rules may change: a new version of the code imports other modules."""

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
        """As last told."""
        self._unsettled: set[str] = set()
        self._first = self._last = 0.0
        """When the unsettled began to change, and when they last did."""
        self._complaints: set[str] = set()
        self._thread = CapacityLimiter(1)

    def change_rules(self, rules: WatchRules, since: float = math.inf) -> None:
        """From now on these hold. What counts only by them is taken as it is, unless it has changed `since` (seconds
        since the epoch)."""
        if rules != (self._new_rules or self._rules):
            self._new_rules, self._new_since = rules, min(since, self._new_since)

    def is_set(self) -> bool:
        """For watchfiles, which asks in its thread: stop waiting."""
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
        """anyio waits for a thread even when we are cancelled, so the thread has to be told."""
        try:
            task_status.started()
            await anyio.sleep_forever()
        finally:
            self._is_stopped = True

    # the system tells

    async def _listen(self) -> bool:
        """Until the folders have to be watched anew. False: one of them wasn't there."""
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
            await self._look()  # what happened while nobody told us
            while folders == self._found.folders.keys() and not self.is_set():
                if await self._hear(notify):
                    await self._look()
                    break
                self._tell_settled()
        return True

    async def _hear(self, notify: RustNotify) -> bool:
        """Wait for reports, as long as makes sense. True: everything has to be looked at."""
        wait = max(1, round(1000 * self._due_in())) if self._unsettled else IDLE
        step = STEP_SETTLING if self._unsettled else STEP
        try:
            reports = await in_thread(notify.watch, GROUP, step, wait, self, limiter=self._thread)
        except WatchfilesRustInternalError as error:
            self._fall_back(_reason(error))
            return True
        if isinstance(reports, str):  # that there are none
            return not self._unsettled and self._found.roots_moved()
        self._unsettle({path for _, path in reports if self._found.counts(path)})
        return len(reports) >= FLOOD or any(self._is_about_folders(kind, path) for kind, path in reports)

    def _is_about_folders(self, kind: int, path: str) -> bool:
        """Whether other folders have to be watched from now on."""
        if path in self._found.folders:
            return kind != Change.modified
        folder, name = os.path.split(path)
        rules = self._found.folders.get(folder)
        if rules is None:
            return True  # nothing that we asked for
        return rules.shapes(name) or (rules.folder(name) is not None and Path(path).is_dir())

    def _fall_back(self, why: str) -> None:
        log.warning("watching files by polling", why=why, every=POLL_INTERVAL, hint=_HINT)
        self._poll_from_now_on()

    def _poll_from_now_on(self) -> None:
        """Libraries are left out: there are many of them, and they change seldom."""
        self._is_polling = True
        self._rules = self._rules.without_libraries()

    # we look

    async def _poll(self) -> None:
        began = time.monotonic()
        await self._look()
        self._tell_settled()
        pause = max(POLL_INTERVAL, POLL_SHARE * (time.monotonic() - began))
        await anyio.sleep(min(pause, self._due_in()) if self._unsettled else pause)

    async def _survey(self, rules: WatchRules, since: float = math.inf) -> SurveyResult:
        found = await in_thread(survey, rules, lambda: self._is_stopped, since, limiter=self._thread)
        await anyio.lowlevel.checkpoint()  # cancelled: the found isn't complete
        return found

    async def _begin(self) -> None:
        if _asked_to_poll():
            log.info("watching files by polling", why="asked for, or this is WSL", every=POLL_INTERVAL)
            self._poll_from_now_on()
        self._found = await self._survey(self._rules, self._since)
        self._complain()
        self._know(self._found.stamps.keys())

    async def _look(self) -> None:
        """Look at everything. What isn't as it was has to settle."""
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
        await self._look()  # by the old ones, and later: what comes in between doesn't count only by the new
        added = found.stamps.keys() - self._found.stamps.keys() - self._known.keys()
        self._rules, self._found = rules, found
        self._complain()
        self._know(added)
        self._unsettle({path for path, stamp in self._known.items() if found.stamps.get(path) != stamp})

    def _know(self, added: Set[str]) -> None:
        """These files count from now on: as they are, but for those that have changed since they may have been
        imported."""
        recent = self._found.recent
        self._known |= {path: self._found.stamps[path] for path in added - recent}
        self._unsettle(set(added & recent))

    def _complain(self) -> None:
        """Once of each thing, until it is over."""
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

    # what changed

    def _unsettle(self, paths: set[str]) -> None:
        if paths:
            self._last = time.monotonic()
            self._first = self._first if self._unsettled else self._last
            self._unsettled |= paths

    def _due_in(self) -> float:
        """Seconds until the unsettled are to be told."""
        if self._rules.stale(map(Path, self._unsettled)) is Stale.LIBRARIES:
            due = min(self._last + INSTALLING, self._first + LONGEST_INSTALLING)
        else:
            quiet = QUIET if all(map(self._is_whole, self._unsettled)) else BACK_SOON
            due = min(self._last + quiet, self._first + LONGEST)
        return max(0.0, due - time.monotonic())

    def _is_whole(self, path: str) -> bool:
        """Whether there is something in it, or was nothing before."""
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
        """Whether a file isn't as last told. From now on it is."""
        now, before = stamp_of(path), self._known.pop(path, None)
        self._found.stamps.pop(path, None)
        if now is None or not self._found.counts(path):
            return now is None and before is not None
        self._known[path] = self._found.stamps[path] = now
        return now != before


def _notify(folders: list[str]) -> RustNotify:
    return RustNotify(folders, False, False, 0, False, False)


def _asked_to_poll() -> bool:
    """By the variable of watchfiles; and on WSL, which tells nothing of files on the Windows side."""
    asked = os.environ.get("WATCHFILES_FORCE_POLLING", "").lower()
    if asked:
        return asked not in ("false", "disable", "disabled")
    return "microsoft-standard" in os.uname().release.lower()


def _reason(error: Exception) -> str:
    """Without the folder of a folder and the debug form that follows."""
    return str(error).partition(" about [")[0]
