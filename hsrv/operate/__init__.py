"""The commands that talk to a running server.

In reading order: `client` (find a server, send requests), `views` (format its answers), `topview` and `top` (live
view), `check` (warn of later problems), `unitfile` (a systemd unit), `arguments` (values with units), `commands` (the
command line). A server imports nothing from here.
"""
