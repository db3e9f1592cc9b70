"""HTTP/1.1 for every process that serves it: connections, and what they leave to their host. `hsrv.http.wire` reads and
writes the bytes, `hsrv.http.request` has requests and responses.

In reading order: `states` (the life of a connection as a table), `contract` (the interfaces of connection and host),
`observer` (what observers are told), `ending` (how a connection ends), `moving` (how it moves to another process),
`preface` (a PROXY header comes first), `bodies` (how the body of a request is read), `calling` (how the application
is called), `connection` (what is done in each state), `backlog` (data that takes too long to interpret in one turn),
`activity` (what a process is busy with), `host` (what the connections of a process share), `overdue` (requests that
take too long), `emitter` (the observer that creates events).
"""
