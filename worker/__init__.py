"""The worker: short requests.

In reading order: `main` (the process), `worker` (its connections and decisions), `route` (where a request runs; pure),
`places` (how many run at a time), `handoff` (requests that go to the pool). New connections: `hsrv.serving`.
"""
