"""How processes of one server hand each other descriptors, and what they say with them.

In reading order: `messages` (handoffs, and the talk with a template: bytes to struct and back), `channel` (one packet
with its descriptors over SOCK_SEQPACKET), `anonfile` (files without a name), `socketfile` (whose file a Unix socket
is).
"""
