"""A seeded storm against the real server: `make chaos`, or python -m tests.chaos --minutes N --seed S.

In reading order: `profiles` (which storms there are), `storm` (one of them, from start to end), `server`, `operators`
(who kills, stops, reloads, scales), `clients`, `timeline` (what happened when), `judge` (the invariants; pure), `app`
(what is served).
"""
