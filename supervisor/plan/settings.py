"""What the plan goes by, and what the supervisor makes of a configuration, at the start and at each reload. Pure."""

from dataclasses import dataclass
from typing import Final

import msgspec

from hsrv.common.terms import Preload
from hsrv.options.config import Config
from hsrv.supervisor.plan.fleet import Budgets

FIXED: Final = (
    *("bind", "unix_mode", "backlog", "run_dir", "reload", "log_format", "user", "group", "umask"),
    *("admin", "admin_token", "admin_host", "admin_write", "app_metrics", "supervisor_collector"),
)
"""Options that belong to the supervisor's own life: its sockets, the form of its log, and whom it tells."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What of a configuration the plan goes by."""

    budgets: Budgets
    stop_budgets: Budgets
    """Those of the end of the server, which may differ."""
    workers: int
    pools: int
    preload: Preload = Preload.AUTO
    max_draining: int = 4
    leader_first: bool = False
    """A generation's other processes begin their lifespan startup when the leader's is complete."""


def settings_of(config: Config) -> Settings:
    """`config.workers` is a number."""
    budgets = budgets_of(config)
    return Settings(
        budgets=budgets,
        stop_budgets=budgets,
        workers=int(config.workers),
        pools=config.pools,
        preload=config.preload,
        max_draining=config.max_draining,
        leader_first=config.leader_first,
    )


def budgets_of(config: Config) -> Budgets:
    return Budgets(
        startup=config.startup_timeout,
        graceful=config.graceful_timeout,
        stream_grace=config.stream_grace,
        lifespan_shutdown=config.lifespan_shutdown_timeout,
        drain_delay=config.drain_delay,
        handoff=config.handoff_timeout,
    )


def changed_config(before: Config, wanted: Config) -> tuple[Config, list[str]]:
    """The configuration after a reload, and the options that a reload can't change but were."""
    kept = {name: getattr(before, name) for name in FIXED}
    unchanged = [name for name in FIXED if getattr(wanted, name) != kept[name]]
    return msgspec.structs.replace(wanted, **kept), unchanged
