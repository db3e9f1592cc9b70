"""What the supervisor keeps open for its processes.

In reading order: `inheritance` (sockets that were open before us), `listeners` (the addresses, from bind to unlink),
`addresses` (all of them, to be passed on), `handoffs` (the channels to the pools, and what is left of one that nobody
reads), `noworkers` (answers 503 while no worker accepts).
"""
