"""/metrics.

In reading order: `catalogue` (every metric of the server), `exposition` (the formats of Prometheus), `appmetrics`
(metrics of the application), `metricfiles` (the files of these), `metricsums` (sums over processes), `metrics` (the
page), `metricdocs` (docs/metrics.md).
"""
