"""Computations for `hsrv top` and the dashboard. Pure.

In reading order: `rates` (rates from two answers of `status`), `glance` (figures of a process).
"""
