"""HTTP/1.1 at the wire, from tables. docs/conformance.md is the prose to it.

In reading order: `case` (what a row says), `request_line` ... `responses` (the tables), `app` (what is served),
`reader` (what counts as a response), `runner` (bytes out, in pieces, and what came back), `test_conformance`.
"""
