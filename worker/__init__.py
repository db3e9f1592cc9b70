"""The worker: short requests.

In reading order: `main` (the process), `worker` (its connections and decisions), `route` (where a request runs; pure),
`accept` (new connections), `places` (how many run at a time), `handoff` (requests that go to the pool).
"""
