"""What operators ask for.

In reading order: `operations` (what takes a while: its steps and its end), `operator` (the socket they come in by, and
the answers).
"""
