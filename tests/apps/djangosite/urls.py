"""Views, sync and async, and the admin site."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from django.contrib import admin
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.apps.wsgi_raw import note

VERSION = int(Path(os.environ["VERSION_FILE"]).read_text()) if "VERSION_FILE" in os.environ else 0


def whoami(request: HttpRequest) -> HttpResponse:
    """Which process and interface, and how often this session was here."""
    request.session["visits"] = visits = request.session.get("visits", 0) + 1
    kind = "wsgi" if "wsgi.version" in request.META else "asgi"
    return JsonResponse({"pid": os.getpid(), "kind": kind, "visits": visits, "version": VERSION})


def count(request: HttpRequest) -> HttpResponse:
    note("count", request.GET["key"])
    kind = "wsgi" if "wsgi.version" in request.META else "asgi"
    return JsonResponse({"kind": kind, "version": VERSION, "key": request.GET["key"]})


def upload(request: HttpRequest) -> HttpResponse:
    (file,) = request.FILES.values()
    return JsonResponse({"size": file.size, "name": file.name})


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def stream(request: HttpRequest) -> HttpResponse:
    def parts() -> Iterator[bytes]:
        for number in range(5):
            yield b"%d\n" % number

    return StreamingHttpResponse(parts(), content_type="text/plain")


def ticks(request: HttpRequest, key: int) -> HttpResponse:
    """A sync event stream, which ends when its client leaves."""

    def events() -> Iterator[str]:
        try:
            for number in range(int(request.GET.get("n", 1 << 30))):
                yield f"data: {number}\n\n"
                time.sleep(0.02)
        finally:
            note("ended", request.path)

    return StreamingHttpResponse(events(), content_type="text/event-stream")


async def events(request: HttpRequest) -> HttpResponse:
    """An async event stream."""

    async def parts() -> AsyncIterator[str]:
        note("count", request.GET["key"])
        for number in range(3):
            yield f"data: {number} {VERSION}\n\n"
            await asyncio.sleep(0.001)

    return StreamingHttpResponse(parts(), content_type="text/event-stream")


def download(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(__file__).open("rb"), as_attachment=True)  # Django closes it


urlpatterns = [
    path("", whoami),
    path("admin/", admin.site.urls),
    path("count", count),
    path("upload", csrf_exempt(upload)),
    path("echo", csrf_exempt(echo)),
    path("stream", stream),
    path("ticks/<int:key>", ticks),
    path("events", events),
    path("download", download),
]
