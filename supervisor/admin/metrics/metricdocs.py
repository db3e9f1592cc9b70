"""Generates docs/metrics.md from the catalogue: `python -m hsrv.supervisor.admin.metrics.metricdocs >
docs/metrics.md`."""

import sys
from typing import Final

from hsrv.supervisor.admin.metrics.catalogue import CATALOGUE, Metric

HEAD: Final = """# Metrics

`/metrics` on the admin address (`--admin`) answers in the text format of Prometheus, or in OpenMetrics if the
client prefers it. The supervisor reads what the processes write to shared memory, so a scrape waits for no process,
works while every worker is blocked, and needs no set-up with several processes.

Totals belong to the server, or to the slot (`worker-1`, `pool-1`), not to the process that has it: they continue
when it dies, is recycled or reloaded, and start from 0 only with the server. While a slot is being taken over, gauges
are the sum of both processes. `role` is supervisor, template, worker or pool; roles without slots have slot 0.

## Metrics of the server

| name | kind | labels | meaning |
|---|---|---|---|
"""

TAIL: Final = """
Buckets of all histograms: 0.0001 s, doubled up to 419 s.

## Metrics of the application

Metrics that the application creates with `prometheus-client` are on the same page under their own names, summed up over
all processes, without any set-up: counters, summaries and histograms; gauges by their `multiprocess_mode`. The counts
of a process stay in the sum when it dies; its `live` gauges are removed; of gauges with mode `all` (one series per
`pid`), those of the 32 processes that died last are kept. The files that prometheus-client writes are in the run
directory and are removed with the server. A file that is not one of these, is larger than 8 MiB, or doesn't fit into
the total of 64 MiB and 4,096 files is left out, and named in the log once.

What prometheus-client doesn't support across processes is left out: `Info`, `Enum`, exemplars, custom collectors,
`set_function`. With preloading, a gauge that is set while the application is imported belongs to the template. Names
that begin with `hsrv_` are reserved for the server. `--no-app-metrics` switches this off. If you set
`PROMETHEUS_MULTIPROC_DIR` yourself, your directory is used and its files are not read by the server.
"""


def render() -> str:
    """The page, in Markdown."""
    return HEAD + "".join(_row(metric) for metric in CATALOGUE) + TAIL


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(render())
