"""What the supervisor does next: events in, actions out, the time passed in.

In reading order: `fleet` (the state of the processes), `settings` (the part of the configuration that it uses), `state`
(the state of the server, and a view of it), `actions` (the actions), `plan` (the events), and its parts: `starting` (a
generation comes to serve), `members` (a process is ready, fails or ends), `forking` (which processes are forked, and
when), `capacity` (how many processes, and which is replaced), `ending` (drain, kill, stop); then `backoff` (delays of
replacements) and `recycling` (which processes are to be replaced).
"""
