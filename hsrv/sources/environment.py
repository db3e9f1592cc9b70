"""What the file of `--env-file` has put into the environment of this process, and of all that it starts.

Promises: what the environment had before wins; a file that can't be read or has an error changes nothing.
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
        """Put in what the file has now, take out what it has no more; the same configuration. Raises ConfigError."""
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
