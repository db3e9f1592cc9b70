"""Which storms there are."""

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class Profile:
    name: str
    workers: int = 3
    clients: int = 12
    kills: bool = True
    descriptors: int | None = None
    """RLIMIT_NOFILE of the server."""
    full_disk: bool = False
    """The log goes to /dev/full."""
    options: dict[str, Any] = field(default_factory=dict)


PROFILES: Final = {
    profile.name: profile
    for profile in (
        Profile(name="kills"),
        Profile(name="calm", kills=False),
        Profile(name="starved", kills=False, workers=2, clients=24, descriptors=38),
        Profile(name="full-disk", full_disk=True),
        Profile(name="two-pools", workers=2, options={"pools": 2}),
        Profile(name="starved-kills", workers=2, clients=24, descriptors=38),
        Profile(name="plain-loop", options={"loop": "asyncio", "preload": "none", "http": "h11"}),
        Profile(name="narrow", workers=2, clients=16, options={"worker_concurrency": 2}),
    )
}
