"""The identity of the current process, for the application, also where there is no ASGI scope."""

from hsrv.common.terms import Identity, Role

ALONE = Identity(Role.WORKER, 1, 0, leader=True)
"""A process that hsrv didn't start (a test, another server): it must do itself what has to be done once."""

_identity = ALONE


def process() -> Identity:
    """Role, slot, generation, and whether it is the leader. During the import of a preloaded application the process is
    the template, which is not a leader; so call it in the lifespan, in a request, or later. Without hsrv: `ALONE`."""
    return _identity


def become(identity: Identity) -> None:
    """Set the identity of this process."""
    global _identity  # noqa: PLW0603  # a process has one identity
    _identity = identity
