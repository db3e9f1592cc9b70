"""Sockets and channels that the supervisor keeps open for its processes.

In reading order: `inheritance` (sockets that were open before the start), `listeners` (listening sockets, from bind to
unlink), `addresses` (all listening sockets of a server), `handoffs` (the channels to the pools), `noworkers` (answers
503 while no worker accepts).
"""
