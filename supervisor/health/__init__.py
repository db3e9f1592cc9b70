"""Processes that hang, die, grow old or hold too much.

In reading order: `health` (whether one hangs; pure), `deaths` (why one ended), `healing` (what is done about it),
`recycler` (replacement for age and memory).
"""
