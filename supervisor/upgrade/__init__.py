"""An upgrade: one supervisor after another.

In reading order: `upgradestate` (their messages; pure), `upgrade` (the old side), `takeover` (the new
side), `keeper` (the first process, by whose pid others know the server).
"""
