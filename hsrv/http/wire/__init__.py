"""HTTP/1.1 between bytes and values. Everything here is pure.

In reading order: `grammar` (tokens and values), `raw` (the parts of a head), `parser` (which parser), `parser_split`
(the usual one), `parser_h11` (the reference), `head` (what of a head we accept), `body` (framing of the request body),
`fields` and `response` (ASGI messages to bytes), `proxy` (the PROXY protocol), `forwarded` (which client is behind
proxies), `trace` (the names of a request).
"""
