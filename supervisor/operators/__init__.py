"""What operators ask for.

In reading order: `operations` (what takes a while: its steps and its end), `operator` (the socket they come in by),
`desk` (the answers), `reloads` (the configuration is read again).
"""
