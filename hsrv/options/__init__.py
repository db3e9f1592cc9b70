"""The options. Nothing here reads a file, a variable or a command line: `hsrv.sources` does.

In reading order: `config` (every option, declared once), `bindspec` (what `--bind` takes), `units` (times and
sizes with a unit), `othernames` (what other servers call the options), `stopbudget` (how long a stop takes at most),
`arguments` (those of a plain `hsrv start`).
"""
