"""The application before it serves: found, imported, started, stopped.

In reading order: `apptarget` (which one is meant, without importing it), `preload` (what is imported before the fork,
and whether that is safe), `forksafety` (what an import left that a fork would share), `forkobjects` (what of that only
Python knows), `apploader` (from an import string to a callable), `lifespan` (its startup and shutdown), `servertiming`
(`--server-timing`).
"""
