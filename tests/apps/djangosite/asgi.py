"""The same site for streams, and a WebSocket beside it."""

import os
from typing import Any
from urllib.parse import parse_qs

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.apps.djangosite.settings")
django = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        await django(scope, receive, send)
        return
    from tests.apps.djangosite.urls import VERSION
    from tests.apps.wsgi_raw import note

    key = parse_qs(scope["query_string"].decode())["key"][0]
    await receive()
    note("count", key)
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"{message['text']} {VERSION}"})
