"""Bottle, Pyramid and Falcon: the same three paths each. Those that are not installed are None."""

import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any


def is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def ticks() -> Iterator[bytes]:
    for number in range(3):
        yield b"data: %d\n\n" % number


def with_bottle() -> Any:
    import bottle

    app = bottle.Bottle()

    def root() -> dict[str, str]:
        return {"hello": "world"}

    def echo() -> bytes:
        body: bytes = bottle.request.body.read()
        return body

    def events() -> Iterator[bytes]:
        bottle.response.content_type = "text/event-stream"
        return ticks()

    app.route("/", callback=root)
    app.route("/echo", "POST", echo)
    app.route("/ticks", callback=events)
    return app


def with_pyramid() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyramid.config import Configurator
        from pyramid.response import Response

    config = Configurator()
    views = {
        "/": lambda request: Response(json={"hello": "world"}),
        "/echo": lambda request: Response(body=request.body),
        "/ticks": lambda request: Response(app_iter=ticks(), content_type="text/event-stream"),
    }
    for path, view in views.items():
        config.add_route(path, path)
        config.add_view(view, route_name=path)
    return config.make_wsgi_app()


def with_falcon() -> Any:
    import falcon

    class Root:
        def on_get(self, request: Any, response: Any) -> None:
            response.media = {"hello": "world"}

    class Echo:
        def on_post(self, request: Any, response: Any) -> None:
            response.data = request.bounded_stream.read()

    class Ticks:
        def on_get(self, request: Any, response: Any) -> None:
            response.content_type = "text/event-stream"
            response.stream = ticks()

    app = falcon.App()
    app.add_route("/", Root())
    app.add_route("/echo", Echo())
    app.add_route("/ticks", Ticks())
    return app


bottle = with_bottle() if is_there("bottle") else None
pyramid = with_pyramid() if is_there("pyramid") else None
falcon = with_falcon() if is_there("falcon") else None
