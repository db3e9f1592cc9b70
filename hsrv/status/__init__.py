"""What people are shown of a running server, whether by `hsrv top` or by the dashboard. Pure.

In reading order: `rates` (from two answers to what happens now), `glance` (what a process is at).
"""
