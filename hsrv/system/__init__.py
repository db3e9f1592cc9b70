"""What the operating system says, and what is asked of it.

In reading order: `platform` (what differs between systems), `native` (whether this hsrv is the compiled one),
`importing` (a process that imports much at once), `standardfiles` (descriptors 0 to 2), `held` (signals that wait),
`realthreads` (threads that no application can replace), `cpus` and `cgroupmemory` (how much of the machine is ours),
`descriptors` (how many may be open), `privileges` (`--user`), `rundir` (where a running server is found), `metricsdir`
(where prometheus-client keeps its files), `sdnotify` (the service manager).
"""
