"""Status, reports for people, and notifications to the service manager.

In reading order: `listeners` (the listeners of the reports), `totals` (totals of the server), `resources` and `usage`
(memory, CPU time, descriptors), `timeline` (recent events), `boards` and `status` (`hsrv status`), `banner` (output at
the start), `waiting` (during a stop), `unitstate` and `notify` (the service manager).
"""
