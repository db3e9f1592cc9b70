"""Passing descriptors and messages between the processes of one server.

In reading order: `messages` (handoffs, and messages to and from a template), `channel` (packets with descriptors over
SOCK_SEQPACKET), `anonfile` (files without a name), `socketfile` (removal of a Unix socket's file).
"""
