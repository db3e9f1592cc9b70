"""WSGI applications (PEP 3333): what is called where an ASGI application would be.

In reading order: `environ` (a request head as an environ), `response` (start_response, write and what the iterable
yields), `files` (wsgi.file_wrapper), `spool` (the request body, whole before the call), `bridge` (what a call in a
thread says to the loop), `threads` (where such calls run), `inthread` (the part of a call that runs there), `call` (one
call of the application), `wrappers` (what --reload-browser and --server-timing put around the application), `runner`
(the calls of a process).
"""
