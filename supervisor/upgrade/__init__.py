"""An upgrade: one supervisor replaces another.

In reading order: `upgradestate` (their messages; pure), `candidate` (the new server while it starts), `handover` (what
it gets, and how it is started), `upgrade` (the old side), `takeover` (the new side), `keeper` (the first process, by
whose pid others know the server).
"""
