"""An upgrade: one supervisor after another.

In reading order: `estate` (what the two say to each other; pure), `upgrade` (the old side), `succession` (the new
side), `keeper` (the first process, by whose pid others know the server).
"""
