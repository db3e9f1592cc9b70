"""The supervisor: keeps processes alive and never sees an application's request.

In reading order: `main` (from a configuration to an exit code), `supervisor` (its parts, and how they hear of each
other), `commands` (what signals ask for), `observed` (what collectors are told). The folders in the order in which they
may import each other: `plan` (decides; pure), `runtime` (the loop: an event, the plan, its actions; the stream of
reports; signals, threads, errors), `sockets` (what is listened on, what waits for the pools), `processes` (one child,
one template), `health` (hangs, deaths, old age), `hands` (performs the actions), `develop` (`--reload`), `operators`
(commands), `upgrade` (upgrades), `reports` (what people and the service manager are told), `admin` (the admin
address).
"""
