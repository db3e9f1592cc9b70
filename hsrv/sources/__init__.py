"""Where the options get their values from: command line, environment, file, default.

In reading order: `sources` (all of them, and their precedence), `envfile` (parses `--env-file`), `environment` (puts
its variables into the environment), `optiondocs` (docs/options.md).
"""
