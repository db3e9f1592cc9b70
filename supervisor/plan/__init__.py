"""What the supervisor does next: events in, actions out, the time passed in.

In reading order: `fleet` (the picture of the processes), `settings` (what of a configuration it goes by), `state` (what
the plan knows, and what others see of it), `actions` (what can be done), `plan` (the events), and its parts: `starting`
(a generation comes to serve), `members` (one of its processes gets on, fails or ends), `forking` (who is forked and
when), `capacity` (how many processes, and which makes room), `ending` (drain, kill, stop); then `backoff` (how soon to
replace the dead) and `recycling` (which have lived long enough).
"""
