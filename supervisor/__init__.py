"""The supervisor: keeps processes alive and never sees an application's request.

In reading order: `main` (wiring and exit code), `listeners` (addresses), `fleet` (picture of the processes;
pure), `actions` (what can be done; pure), `plan` (what to do next; pure), `backoff` (how soon to replace
the dead; pure), `supervisor` (the loop that does it), `children` (one child's control channel), `templates`
(one template's channel), `handoffs` (the channels to the pools, and what is left of one that nobody reads),
`signals`, `banner`, `defects` (what of ours goes wrong must not end a server);
for --reload `watch` (which files have changed) with `survey` (a look at all of them).
"""
