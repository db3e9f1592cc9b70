"""Where the options get their values from: command line, environment, file, default.

In reading order: `sources` (all of them, and their precedence), `layers` (their values, also under the names of other
servers), `otherflags` (takes other servers' options out of a command line), `envfile` (parses `--env-file`),
`environment` (puts its variables into the environment), `optiondocs` (docs/options.md), `namedocs` (docs/names.md).
"""
