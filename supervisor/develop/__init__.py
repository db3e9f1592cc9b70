"""The supervisor under `--reload`.

In reading order: `development` (what is different), `watch` (which files have changed), `survey` (a look at all of
them).
"""
