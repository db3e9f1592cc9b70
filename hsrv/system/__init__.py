"""Interfaces to the operating system.

In reading order: `platform` (differences between systems), `native` (whether this hsrv is compiled), `importing` (fewer
garbage collections during imports), `standardfiles` (descriptors 0 to 2), `blockedsignals`, `realthreads`
(threads that no application can replace), `cpus` and `cgroupmemory` (available CPUs and memory), `descriptors` (limits
of open files), `reaping` (children that have ended), `privileges` (`--user`), `rundir` (the run directory and its
sockets), `metricsdir` (the directory of prometheus-client's files), `sdnotify` (the service manager).
"""
