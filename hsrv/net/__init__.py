"""Sockets and event loops.

In reading order: `poller` (one epoll object beneath the loop, and the lock of whatever touches connections), `loops`
(which loop), `context` (callbacks in the process's own context variables), `waiting` (coroutines of what may be
compiled), `eager` (tasks that run at once), `conn` (a client socket that this process owns: reading, writing, giving
it away), `intake` (connections that come over a channel).
"""
