"""Logs: one structured line per event, and one per request.

In reading order: `logging` (the lines of hsrv, and the application's own logging), `accesslog` (a line per request),
`shortlines` (the lines of `hsrv dev`), `targets` (where lines go), `logfiles` (rotated by others), `output` (every
write to standard error and output), `floods` (rate limiting of similar events).
"""
