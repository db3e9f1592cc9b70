"""What performs the plan's actions.

In reading order: `children` (all workers and pools, and what they are told), `templates` (all templates, and what they
fork), `hands` (each action to what performs it, and the reaping of the dead).
"""
