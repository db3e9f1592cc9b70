"""hsrv beside other servers: same machine, same application, interleaved rounds. `python -m bench --help`.

Reading order: `servers` and `scenarios` are the two tables; `run` goes through them; `process`, `wrk`, `perf` and
`clients` measure; `stats`, `tables` and `svg` are pure; `report` writes.
"""
