"""Loading the application: find, import, start and stop it.

In reading order: `apptarget` (which application, without importing it), `preload` (what is imported before the fork),
`forksafety` (objects left by an import that a fork would share), `forkobjects` (those that only Python knows),
`interface` (ASGI or WSGI, by its parameters), `apploader` (from an import string to a callable), `lifespan` (startup
and shutdown), `servertiming` (`--server-timing`).
"""
