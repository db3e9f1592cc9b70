"""HTTP/1.1 for every process that serves it: connections and exchanges. The bytes are the business of `hsrv.http.wire`.

In reading order: `scope` (a request head to an ASGI scope), `pace` (how fast a body must arrive), `failure` (errors
that leave the application), `backlog` (what takes more than its share of a turn to read), `exchange` (one request and
its response), `call` (its receive() and send()), `connection` (one client socket, request after request), `host` (what
the connections of a process share, and what they leave to it), `activity` (what it is busy with), `overdue` (requests
that take too long), `observed` (the same host where collectors listen).
"""
