"""Loading the application: find, import, start and stop it.

In reading order: `apptarget` (which application, without importing it), `preload` (what is imported before the fork),
`forksafety` (objects left by an import that a fork would share), `forkobjects` (those that only Python knows),
`apploader` (from an import string to a callable), `lifespan` (its startup and shutdown), `servertiming`
(`--server-timing`).
"""
