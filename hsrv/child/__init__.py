"""Processes that run the application: the template, and the workers and pools that it forks.

In reading order: `templatemain` (a new interpreter), `template` (imports, then forks), `boot` (what a worker or pool
starts with), `life` (workers and pools, from fork to exit), `exits` (an application that tries to end its process),
`endings` (exit functions, and which of them a fork must not inherit), `leftovers` (processes that the application
started and left behind), `whichprocess` (hsrv.process()), `leadership` (hsrv.leadership()), `debugger` (`breakpoint()`
at a terminal).
"""
