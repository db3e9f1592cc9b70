"""What the supervisor's own process stands on.

In reading order: `launch` (how it was started, to be started again), `signals` (which asks for what), `terminal`
(whether the terminal has gone), `threads` (work in threads that hear no signals), `aside` (work that even a thread
would disturb), `defects` (what of ours goes wrong must not end a server).
"""
