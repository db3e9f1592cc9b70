"""Django, as one file."""

from collections.abc import AsyncIterator

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="for tests only", DATA_UPLOAD_MAX_MEMORY_SIZE=None
)
django.setup()


async def root(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"hello": "world"})


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


async def download(request: HttpRequest) -> StreamingHttpResponse:
    size = int(request.GET["size"])

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield b"x" * 65536
        yield b"x" * (size % 65536)

    return StreamingHttpResponse(parts())


urlpatterns = [path("", root), path("echo", echo), path("download", download)]
app = get_asgi_application()
