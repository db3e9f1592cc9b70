"""HTTP/1.1 for every process that serves it: connections, and what they leave to their host. The bytes are the business
of `hsrv.http.wire`, requests and responses of `hsrv.http.request`.

In reading order: `states` (the life of a connection as a table), `contract` (what a connection and its host are to each
other), `observer` (what observers are told), `ending` (how a connection ends), `moving` (how it moves to another
process), `preface` (a PROXY header comes first), `bodies` (how the body of a request is read), `connection` (what is
done in each state), `backlog` (what takes more than its share of a turn to read), `failure` (errors that leave the
application), `host` (what the connections of a process share), `activity` (what it is busy with), `overdue` (requests
that take too long), `emitter` (the observer that tells collectors).
"""
