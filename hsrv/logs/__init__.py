"""Logs: one structured line per event, and one per request.

In reading order: `logging` (the lines of hsrv and of the application), `applogging` (what the application does with
`logging`), `logconfig` (the file of `--log-config`), `accesslog` (a line per request), `schemas` (the fields of JSON
lines), `shortlines` (the lines of `hsrv dev`), `targets` (where lines go), `logfiles` (rotated by others), `output`
(every write to standard error and output), `floods` (rate limiting of similar events).
"""
