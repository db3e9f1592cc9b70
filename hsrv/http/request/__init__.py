"""One request and its response, as the application sees them.

In reading order: `scope` (a request head to an ASGI scope), `pace` (how fast a body must arrive), `boundaries` (where
an event stream may end), `exchange` (one request and its response), `call` (its receive() and send(), where they
wait), `failure` (errors that leave the application), `calls` (the application calls that are not finished),
`calltimes` (how long the calls of a path take).
"""
