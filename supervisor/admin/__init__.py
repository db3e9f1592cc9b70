"""The admin address: what the supervisor itself answers over HTTP.

In reading order: `site` (the table of all paths), `probes` (livez, readyz, startupz), `actions` (what may be changed).
Folders, in the order in which they may import each other: `http` (the server), `metrics`, `dashboard`.
"""
