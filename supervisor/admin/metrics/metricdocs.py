"""docs/metrics.md, from the catalogue: `python -m hsrv.supervisor.admin.metrics.metricdocs > docs/metrics.md`."""

import sys
from typing import Final

from hsrv.supervisor.admin.metrics.catalogue import CATALOGUE, Metric

HEAD: Final = """# Metrics

`/metrics` on the admin address (`--admin`) answers in the text format of Prometheus, or in OpenMetrics for those
who ask for it. The supervisor reads what the processes write to shared memory, so a scrape waits for nobody, works
while every worker is stuck, and needs no set-up with several processes.

Totals belong to the server, or to the slot (`worker-1`, `pool-1`), not to the process that has it: they go on when
it dies, is recycled or reloaded, and start anew only with the server. While a slot changes hands, gauges are of
both processes together. `role` is supervisor, template, worker or pool; slot 0 stands where a role has no slots.

## The server's own

| name | kind | labels | meaning |
|---|---|---|---|
"""

TAIL: Final = """
Buckets of all histograms: 0.0001 s and its doubles, up to 419 s.

## The application's

What the application counts with `prometheus-client` is on the same page under its own names, added up over all
processes, without any set-up: counters, summaries and histograms; gauges by their `multiprocess_mode`. What a
process counted stays in the sum when it dies; `live` gauges go with it; of gauges with mode `all`, one series per
`pid`, those of the 32 processes that died last are kept. The files that prometheus-client writes are in the run
directory and go with the server. What isn't such a file, has more than 8 MiB, or doesn't fit into 64 MiB and 4,096
files in all, is left out alone, and named in the log once.

What prometheus-client can't do across processes is left out: `Info`, `Enum`, exemplars, custom collectors,
`set_function`. A gauge that is set while the application is imported is, with preloading, that of the template.
Names that begin with `hsrv_` are the server's. `--no-app-metrics` turns it off; who sets `PROMETHEUS_MULTIPROC_DIR`
himself keeps his directory, and it is not merged.
"""


def render() -> str:
    """The page, in Markdown."""
    return HEAD + "".join(_row(metric) for metric in CATALOGUE) + TAIL


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(render())
