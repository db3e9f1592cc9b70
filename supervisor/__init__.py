"""The supervisor: keeps processes alive and never sees an application's request.

In reading order: `main` (wiring and exit code), `supervisor` (the loop: events in, the plan decides, actions out),
`observed` (the same where collectors listen). The folders in the order in which they may import each other: `plan`
(decides; pure), `runtime` (signals, threads, defects), `sockets` (what is listened on, what waits for the pools),
`processes` (children and templates), `health` (hangs, deaths, old age), `develop` (`--reload`), `operators`
(commands), `succession` (upgrades), `reports` (what people and the service manager are told), `admin` (the admin
address).
"""
