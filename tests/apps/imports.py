"""Which modules are imported in which process: of a worker and a pool by request, of the supervisor into a file."""

import json
import os
import sys
from pathlib import Path
from typing import Any

_inherited: set[str] = set()


def _note() -> None:
    _inherited.update(sys.modules)


os.register_at_fork(after_in_child=_note)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """All modules of this process, and which of them it did not have from the template."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    loaded = set(sys.modules)
    body = json.dumps({"all": sorted(loaded), "own": sorted(loaded - _inherited)}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Noting:
    """A collector of the supervisor."""

    def __init__(self, source: Any) -> None:
        self._file = Path(os.environ["MODULES"])

    def collect(self, event: Any) -> None:
        if type(event).__name__ == "GenerationServes":
            draft = self._file.with_suffix(".draft")
            draft.write_text(json.dumps(sorted(sys.modules)))
            draft.rename(self._file)  # whole, for who waits for it
