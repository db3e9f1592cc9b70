"""What reads or writes bytes, against anything: `make fuzz`, or python -m tests.fuzz --minutes N --seed S.

`targets` says what a target is; `heads`, `bodies`, `packets`, `lines`, `responses` and `frames` are the targets,
`table` lists them, `past` keeps the inputs that once failed.
"""
