"""State that processes publish in shared memory.

In reading order: `layout` (offsets and fields; pure), `snapshot` (a scoreboard at one moment; pure), `scoreboard`
(write and read one), `heartbeat` (liveness of a thread and the event loop), `stacks` (stack dumps), `census` (limits of
the whole server), `lasttaken` (when workers last accepted or adopted).
"""
