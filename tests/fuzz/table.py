"""Every target, by name."""

from typing import Final

from tests.fuzz import bodies, forwarded, frames, heads, lines, packets, responses, turns
from tests.fuzz.targets import Target

TARGETS: Final[dict[str, Target]] = {
    module.TARGET.name: module.TARGET
    for module in (heads, bodies, packets, lines, responses, frames, turns, forwarded)
}
