"""A small HTTP/1.1 server for those who look after the server.

In reading order: `route` (requests, answers, what a path may do), `guard` (who is let in), `address` (how it is
opened), `server` (connections).
"""
