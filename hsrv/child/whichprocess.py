"""Which process of the server this is, for the application: anywhere, also where it gets no ASGI scope."""

from hsrv.common.terms import Identity, Role

ALONE = Identity(Role.WORKER, 1, 0, leader=True)
"""A process that hsrv didn't start (a test, another server): nobody else does what must be done once."""

_identity = ALONE


def process() -> Identity:
    """Role, slot, generation, and whether it is the leader. While a preloaded application is imported it is the
    template, which is no leader; so ask in the lifespan, in a request, or later. Without hsrv it is `ALONE`."""
    return _identity


def become(identity: Identity) -> None:
    """From now on this process is that one."""
    global _identity  # noqa: PLW0603  # a process has one identity
    _identity = identity
