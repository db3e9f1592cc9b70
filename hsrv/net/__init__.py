"""Sockets and event loops.

In reading order: `context` (callbacks in the process's own context variables), `flushtimer` (a timer of the kernel
that calls back in a thread), `outbox` (data that is written at the end of a turn), `poller` (one epoll object watched
by the loop, and the lock for code that touches connections), `loops` (creates the loop), `sweep` (the timer for all
deadlines), `waiting` (coroutines for compiled modules), `eager` (tasks that start at once), `hiding` (code that must
find no loop), `gathering` (the data of a connection that waits in the outbox), `conn` (a client socket that this
process owns: read, write, pass on), `takeloop` (takes what waits on readable descriptors, in batches), `intake`
(connections received over a channel).
"""
