"""Processes that hang, die, grow old or use too much memory.

In reading order: `health` (whether a process hangs; pure), `deaths` (why a process ended), `healing` (reports and acts
on hangs), `recycler` (replacement for age and memory).
"""
