"""Logs: one structured line per event, and one per request.

In reading order: `logging` (the lines of hsrv, and the application's own logging), `accesslog` (a line per request),
`output` (every write to standard error), `shortlines` (the lines of `hsrv dev`), `floods`
(rate limiting of similar events).
"""
