"""The configuration in use: what the server was started with, or what the last reload has read."""

from collections.abc import Callable
from typing import Literal

import msgspec

from hsrv.options.config import Config
from hsrv.supervisor.plan.settings import changed_config


class Configuration:
    """Of one server."""

    def __init__(self, config: Config, reread: Callable[[], Config] | None = None) -> None:
        """`reread`: the configuration as it is now, for a reload; raises HsrvError."""
        self.config = config
        self._reread = reread

    def read_again(self) -> list[str]:
        """The options that were changed and can't be by a reload. Raises HsrvError, and then nothing has changed."""
        if self._reread is None:
            return []
        self.config, unchanged = changed_config(self.config, self._reread())
        return unchanged

    def set_log_level(self, level: Literal["debug", "info", "warning", "error"]) -> None:
        self.config = msgspec.structs.replace(self.config, log_level=level)
