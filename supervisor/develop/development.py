"""`hsrv start --reload`: what is different in development.

A change is loaded at once: the plan lets the old generation drain first, so that new requests wait for the new code.
The template stays, with its imported libraries, until one of them changes. Errors of the code are shown in the browser.
A stop takes less than a second, whatever is open.
"""

import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

from hsrv.common.terms import Preload
from hsrv.develop.watchrules import Stale, WatchRules
from hsrv.logs.logging import get_logger
from hsrv.options.config import Config
from hsrv.sources.sources import CONFIG_FILES
from hsrv.supervisor.develop.watch import Watcher
from hsrv.supervisor.plan.fleet import Budgets
from hsrv.supervisor.plan.settings import Settings

STOP_GRACE: Final = 0.25
"""Seconds for requests, and for lifespan shutdown, when Ctrl-C ends a server in development."""

STOP_MARGIN: Final = 0.2
"""Seconds beyond them before a process is killed."""

SHOWN: Final = 5
"""Changed files that are named in the log."""

log = get_logger("hsrv.supervisor")


class Development:
    """Watches the files, and decides what a change means for the server."""

    def __init__(self, config: Config, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._rules = rules_of(config)
        self._watcher = Watcher(self._rules, self._changed, time.time())
        self._libraries_stale = False
        self._app_dir = Path(config.app_dir).resolve()
        self._saved: set[Path] = set()
        """What was saved since a generation began to serve."""
        self._saved_at = 0.0
        """The first of them, in seconds of time.monotonic()."""
        self.preload = Preload.LIBRARIES if config.preload is Preload.AUTO else config.preload

    async def watch(self) -> None:
        """Until cancelled."""
        await self._watcher.run()

    def imported(self, modules: Mapping[str, str | None], since: float) -> None:
        """The application has been loaded: these are the files it consists of. The first of them was not read before
        `since` (seconds since the epoch)."""
        standard = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
        self._rules = self._rules.knowing(modules, standard)
        self._watcher.change_rules(self._rules, since)

    def keeps_template(self) -> bool:
        """Whether the template's imports are up to date and only libraries. Called once per generation."""
        stale, self._libraries_stale = self._libraries_stale, False
        return not stale and self.preload in (Preload.LIBRARIES, Preload.NONE)

    def served(self) -> dict[str, object]:
        """A generation serves: the files that led to it, and how long that took."""
        saved, self._saved = sorted(self._saved), set()
        if not saved:
            return {}
        files = [str(path).removeprefix(f"{self._app_dir}/") for path in saved]
        return {
            "files": files[:SHOWN],
            "count": len(saved),
            "seconds": round(time.monotonic() - self._saved_at, 3),
        }

    def _changed(self, paths: frozenset[Path]) -> None:
        if self._rules.stale(paths) is Stale.LIBRARIES:
            self._libraries_stale = True
        forget_bytecode(paths)
        if not self._saved:
            self._saved_at = time.monotonic()
        self._saved |= paths
        shown = [str(path) for path in sorted(paths)[:SHOWN]]
        log.info("files changed", files=shown, count=len(paths))
        self._on_change()

    # settings of the plan

    def settings(self, usual: Settings) -> Settings:
        return replace(
            usual,
            budgets=self.budgets(usual.budgets),
            stop_budgets=self.stop_budgets(usual.budgets),
            preload=self.preload,
        )

    def budgets(self, usual: Budgets) -> Budgets:
        """For a reload: requests finish with the old code, streams end at once."""
        return replace(usual, stream_grace=0.0, drain_delay=0.0)

    def stop_budgets(self, usual: Budgets) -> Budgets:
        """For a stop."""
        return replace(
            usual,
            graceful=min(usual.graceful, STOP_GRACE),
            lifespan_shutdown=min(usual.lifespan_shutdown, STOP_GRACE),
            stream_grace=0.0,
            drain_delay=0.0,
            margin=STOP_MARGIN,
            stream_end=STOP_GRACE,
        )


def forget_bytecode(paths: Iterable[Path]) -> None:
    """Remove Python's cached bytecode of these sources. A cache counts as valid if the source has the same size and was
    saved in the same second (its header has whole seconds), so a quick second save would never be loaded."""
    for path in paths:
        if path.suffix == ".py":
            try:
                Path(cache_from_source(str(path))).unlink(missing_ok=True)
            except OSError as error:  # if we may not write there, neither may the processes that import it
                log.debug("bytecode kept", file=str(path), error=str(error))


def rules_of(config: Config) -> WatchRules:
    """The rules before the application has been loaded."""
    app_dir = Path(config.app_dir).resolve()
    files = [Path(name).absolute() for name in CONFIG_FILES]
    if config.env_file is not None:
        files.append(Path(config.env_file).absolute())
    return WatchRules(
        app_dir=app_dir,
        include=config.reload_include,
        exclude=config.reload_exclude,
        files=tuple(files),
        libraries=(Path(sysconfig.get_path("purelib")),),
    )
