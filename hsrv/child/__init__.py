"""Processes that run the application: the template, and the workers and pools that it forks.

In reading order: `templatemain` (a new interpreter), `template` (imports, then forks), `preloading` (what it imports),
`boot` (what a worker or pool starts with), `life` (workers and pools, from fork to exit), `strayexits` (an application
that tries to end its process), `exitfunctions` (`atexit`, and what a fork must not inherit), `leftovers` (processes
that the application started and left behind), `whichprocess` (hsrv.process()), `leadership` (hsrv.leadership()),
`debugger` (`breakpoint()` at a terminal).
"""
