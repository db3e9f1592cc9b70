"""The operator's side: the commands that talk to a running server.

In reading order: `client` (find a server, ask it), `views` (its answers, for people), `topview` and `top` (live),
`check` (what bites later), `unitfile` (a systemd unit), `commands` (the command line). Nothing here is imported by a
server.
"""
