"""The admin address: what the supervisor itself answers over HTTP.

In reading order: `route` (requests, answers, what a path may do), `guard` (who is let in), `server` (connections),
`probes` (livez, readyz, startupz), `catalogue` (every metric), `exposition` and `appmetrics` (prometheus-client),
`aside` (what takes long), `metrics` (the page), `document`, `feed`, `dashboard` and `actions` (the dashboard: what it
is told, itself, what it may ask for), `address` (how it is opened), `site` (the table of all paths).
"""
