"""Processes that run the application: the template, and the workers and pools that it forks.

In reading order: `templatemain` (a fresh interpreter), `template` (imports, then forks), `life` (from the fork to the
exit: what workers and pools have in common), `exits` (an application that tries to end its process), `endings` (exit
functions, and what a fork must not inherit of them), `leftovers` (processes that the application started and that stay
behind), `whichprocess` (hsrv.process()), `leadership` (hsrv.leadership()), `debugger` (`breakpoint()` at a
terminal).
"""
