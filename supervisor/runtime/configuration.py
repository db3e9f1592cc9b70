"""The configuration in use: from the start, or from the last reload."""

from collections.abc import Callable
from typing import Literal

import msgspec

from hsrv.options.config import Config
from hsrv.supervisor.plan.settings import changed_config


class Configuration:
    """The configuration of one server."""

    def __init__(self, config: Config, reread: Callable[[], Config] | None = None) -> None:
        """`reread`: reads the configuration again, for a reload; raises HsrvError."""
        self.config = config
        self._reread = reread

    def read_again(self) -> list[str]:
        """Returns the options that have changed and can't be changed by a reload. If it raises HsrvError, nothing has
        changed."""
        if self._reread is None:
            return []
        self.config, unchanged = changed_config(self.config, self._reread())
        return unchanged

    def set_log_level(self, level: Literal["debug", "info", "warning", "error"]) -> None:
        self.config = msgspec.structs.replace(self.config, log_level=level)
