"""Puts the variables of `--env-file` into the environment of this process, which its child processes inherit.

Promises: variables that the environment had before take precedence; a file that can't be read or has an error changes
nothing.
"""

import os
from typing import Final

from hsrv.options.config import Config
from hsrv.sources.sources import read_env_file


class FileEnvironment:
    def __init__(self) -> None:
        self.names: Final[set[str]] = set()
        """Variables that came from the file, and would not be there without it."""

    def read(self, config: Config) -> Config:
        """Set the variables of the file, remove those no longer in it. Returns the same configuration. Raises
        ConfigError."""
        given = read_env_file(config.env_file) if config.env_file is not None else {}
        wanted = {
            name: value for name, value in given.items() if name in self.names or name not in os.environ
        }
        for name in self.names - wanted.keys():
            os.environ.pop(name, None)
        os.environ.update(wanted)
        self.names.clear()
        self.names.update(wanted)
        return config
