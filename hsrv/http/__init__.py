"""HTTP/1.1 for every process that serves it.

In reading order: `events` (what a request is), `grammar` (tokens and values), `raw`, `parser`, `parser_split`,
`parser_h11` (bytes to the parts of a head), `head` (what of it we accept), `body` (framing of the request body),
`fields` and `response` (ASGI messages to bytes), `forwarded` and `scope` (a request head to an ASGI scope), `trace`
(the names of a request), `exchange` (one call of the application),
`connection` (one client socket, request after request). All but the last two are pure.
"""
