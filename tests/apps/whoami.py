"""Which process this is: at the import, in the lifespan, in a request."""

import json
from typing import Any

import hsrv

seen = [str(hsrv.process().role)]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    here = hsrv.process()
    if scope["type"] == "lifespan":
        await receive()
        seen.append(here.name)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    assert scope["extensions"]["hsrv"]["slot"] == here.slot
    body = json.dumps([*seen, str(here.role), here.slot, here.generation, here.leader]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
