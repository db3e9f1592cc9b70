"""A small HTTP/1.1 server for probes, scrapes and operators.

In reading order: `route` (requests, responses, paths), `guard` (access), `address` (opening the address), `server`
(connections).
"""
