"""Performs the plan's actions.

In reading order: `children` (all workers and pools), `templates` (all templates), `hands` (dispatches each action;
collects processes that have ended).
"""
