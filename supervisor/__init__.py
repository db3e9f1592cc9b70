"""The supervisor: keeps processes alive and never sees an application's request.

In reading order: `main` (from a configuration to an exit code), `supervisor` (creates and connects the parts),
`commands` (commands by signal), `observed` (events for collectors). The folders in the order in which they may import
each other: `plan` (decides; pure), `runtime` (the loop: an event, the plan, its actions; the stream of reports;
signals, threads, errors), `sockets` (listening sockets, handoff channels), `processes` (one child, one template),
`health` (hangs, deaths, age, memory), `hands` (performs the actions), `develop` (`--reload`), `operators` (commands),
`upgrade` (upgrades), `reports` (status, log lines for people, the service manager), `admin` (the admin address).
"""
