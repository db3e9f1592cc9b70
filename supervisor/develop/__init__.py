"""The supervisor under `--reload`.

In reading order: `development` (the differences), `watch` (watches files), `survey` (looks at all files).
"""
