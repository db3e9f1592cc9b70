"""The worker: short requests.

In reading order: `main` (the process), `worker` (its connections and decisions), `places` (how many run at a
time), `longcalls` (which requests take long; pure). New connections: `hsrv.serving`.
"""
