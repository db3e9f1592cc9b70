"""Where the options get their values from: command line, environment, file, default.

In reading order: `sources` (all of them, and which wins), `envfile` (`--env-file`), `environment` (what that file puts
into the environment), `optiondocs` (docs/options.md).
"""
