"""What the other parts of the supervisor use.

In reading order: `loop` (an event, the plan, its actions), `reports` (the stream of reports), `configuration` (the
current one), `launch` (how the server was started, to start it again), `signals` (signals and their commands),
`terminal` (whether the terminal has gone), `inoperation` (the operation's id in the log), `threads` (threads that get
no signals), `background` (long work beside the loop), `errorlog` (an error of hsrv itself must not end a server).
"""
