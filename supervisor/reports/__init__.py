"""What people and the service manager are told.

In reading order: `told` (who hears the reports), `totals` (what the server has counted), `resources` and `usage` (what
it takes of the machine), `timeline` (what happened of late), `boards` and `status` (`hsrv status`), `banner` (the
start), `unitstate` and `notify` (the service manager).
"""
