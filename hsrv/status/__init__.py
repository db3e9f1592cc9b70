"""Computations for everything that displays a status: `hsrv status`, `hsrv top`, the dashboard. Pure.

In reading order: `rates` (rates from two answers of `status`), `model` (what it says of each process and of all).
"""
