"""The async pool: long-lived streams.

In reading order: `main` (the process), `pool` (its streams and decisions), `room` (limits and descriptors),
`websockets` (all sessions of a process; one session is the folder `websocket`), `claims` (requests that asked for a
stream and were none), `parking` (idle connections), `patience` (how long new ones may wait for a worker; pure),
`lateaccept` (those that have waited so long), `returns` (requests that were read here and run in a worker), `drainplan`
(how a drain ends the streams; pure).
HTTP streams are `hsrv.http.connection`, the same as in a worker.
"""
