"""/metrics.

In reading order: `catalogue` (every metric of the server), `exposition` (to what Prometheus reads), `appmetrics` (what
the application counts), `metricfiles` (the files it is counted in), `metricsums` (sums over processes), `metrics` (the
page), `metricdocs` (docs/metrics.md).
"""
