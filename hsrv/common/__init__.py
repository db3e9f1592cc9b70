"""The vocabulary of every process. No I/O, no state: nothing here imports anything else of hsrv.

In reading order: `terms` (the enums that processes share), `errors` (by whose fault, and exit codes), `tables`
(lifecycles: which move is legal), `request` (a request head, as every part sees it), `asgi` (its types), `globs` (path
patterns), `visible` (texts of others, as a terminal may show them), `histogram` (what counts tell), `version`.
"""
