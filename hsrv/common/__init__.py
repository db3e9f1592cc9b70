"""Types and pure functions that every process uses. No I/O, no state: nothing here imports anything else of hsrv.

In reading order: `terms` (shared enums), `errors` (exceptions and exit codes), `tables` (state machines), `request` (a
parsed request head), `asgi` (ASGI types), `globs` (path patterns), `visible` (escape text for a terminal), `histogram`
(quantiles), `version`.
"""
