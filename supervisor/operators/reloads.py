"""Reloads: the configuration is read again, and the next generation is started with it, or queued.

Promise: one that can't begin changes nothing, and its operation ends with the reason.
"""

from collections.abc import Callable
from typing import Literal

from hsrv.common.errors import HsrvError, OperatorError
from hsrv.logs.logging import get_logger
from hsrv.supervisor.operators.operations import new_id
from hsrv.supervisor.plan.actions import LogLine, OperationEnded
from hsrv.supervisor.plan.settings import settings_of
from hsrv.supervisor.plan.state import ServerPhase
from hsrv.supervisor.runtime.configuration import Configuration
from hsrv.supervisor.runtime.inoperation import in_operation
from hsrv.supervisor.runtime.loop import Loop
from hsrv.supervisor.runtime.reports import ReloadBegun

log = get_logger("hsrv.supervisor")


class Reloads:
    """The reloads of one server."""

    def __init__(
        self,
        loop: Loop,
        configuration: Configuration,
        set_log_level: Callable[[Literal["debug", "info", "warning", "error"]], None],
        in_the_way: Callable[[], str],
    ) -> None:
        """`set_log_level`: in every process. `in_the_way`: why no reload can begin now, or ""."""
        self._loop = loop
        self._configuration = configuration
        self._set_log_level = set_log_level
        self._in_the_way = in_the_way

    def next_id(self) -> str:
        """The id of the reload that a request starts, or of the queued one that it joins."""
        return self._loop.plan.queued_reload or new_id()

    def begin(self, operation: str) -> None:
        """Read the configuration again and start the next generation, or queue it. Does nothing after a stop."""
        loop = self._loop
        if loop.plan.phase is not ServerPhase.RUNNING:
            loop.tell(LogLine("info", "not reloaded", {"why": "the server stops"}))
            return
        loop.tell(ReloadBegun(operation=operation))
        with in_operation(operation):
            why = self._read(operation)
        if why:
            failed = OperationEnded(why, operation=operation)
            loop.perform((failed,))
        else:
            loop.perform(loop.plan.start(loop.now(), operation))

    def _read(self, operation: str) -> str:
        """Read the configuration. Returns why that failed, or ""."""
        before = self._configuration.config
        try:
            if why := self._in_the_way():
                raise OperatorError(why)
            unchanged = self._configuration.read_again()
        except HsrvError as error:
            log.error("reload failed, the running code goes on", error=str(error))
            return str(error)
        for name in unchanged:
            log.warning("not changed by a reload", option=name, hint="restart the server")
        config = self._configuration.config
        self._loop.perform(self._loop.plan.configure(settings_of(config), self._loop.now(), operation))
        if config.log_level != before.log_level:
            self._set_log_level(config.log_level)
        return ""
