"""The plan's settings, from the configuration at the start and at each reload. Pure."""

from dataclasses import dataclass
from typing import Final

import msgspec

from hsrv.common.terms import Preload
from hsrv.options.config import Config
from hsrv.supervisor.plan.fleet import Budgets

FIXED: Final = (
    *("bind", "unix_mode", "backlog", "run_dir", "reload", "user", "group", "umask"),
    *("log_format", "log_schema", "log_to", "log_file", "access_log_file"),
    *("admin", "admin_token", "admin_host", "admin_write", "app_metrics", "supervisor_collector"),
)
"""Options that a reload can't change, because they belong to the supervisor itself: its sockets, the format of its log,
its collectors."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The part of a configuration that the plan uses."""

    budgets: Budgets
    stop_budgets: Budgets
    """The budgets at a stop of the server, which may differ."""
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
    """The configuration after a reload, and the options that were changed although a reload can't change them."""
    kept = {name: getattr(before, name) for name in FIXED}
    unchanged = [name for name in FIXED if getattr(wanted, name) != kept[name]]
    return msgspec.structs.replace(wanted, **kept), unchanged
