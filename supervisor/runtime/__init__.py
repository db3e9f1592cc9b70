"""What the supervisor's own process stands on.

In reading order: `loop` (an event comes, the plan decides, its actions are performed), `told` (what people are told,
as one stream), `configuration` (the one in use), `launch` (how it was started, to be started again), `signals` (which
asks for what), `terminal` (whether the terminal has gone), `inoperation` (of which operation a line of the log is
part), `threads` (work in threads that hear no signals), `background` (work that even a thread would disturb),
`errorlog` (an error of hsrv itself must not end a server).
"""
