"""What the supervisor does next: events in, actions out, the time passed in.

In reading order: `settings` (what of a configuration it goes by), `fleet` (the picture of the processes), `actions`
(what can be done), `plan` (what to do), `capacity` (how many processes, and which makes room), `backoff` (how soon to
replace the dead), `recycling` (which have lived long enough).
"""
