"""The admin address: HTTP requests that the supervisor answers itself.

In reading order: `site` (the table of all paths), `probes` (livez, readyz, startupz), `actions` (commands).
Folders, in the order in which they may import each other: `http` (the server), `metrics`, `dashboard`.
"""
