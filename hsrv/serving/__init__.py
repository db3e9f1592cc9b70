"""What a worker and a pool have in common.

In reading order: `accept` (new connections from the listening sockets), `admission` (limits and PROXY trust of a new
connection; 503), `route` (where a request runs; pure), `desk` (requests that go on to another process before they run),
`moves` (idle connections to another process), `drain` (the end of a process), `service` (the base of
`hsrv.worker.worker` and `hsrv.asyncpool.pool`).
"""
