"""Commands of operators.

In reading order: `operations` (steps and end of what takes a while), `operator` (the operator socket),
`desk` (the handlers), `reloads` (reloads, which read the configuration again).
"""
