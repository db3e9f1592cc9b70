"""The outermost call of an application. Never compiled: where a request waits is found by following the awaits from
here, and a compiled coroutine doesn't tell (see `hsrv.stacks`)."""

from hsrv.asgi import Application, Receive, Scope, Send
from hsrv.errors import AppError


async def call_application(app: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Call the application. A coroutine of our own, so that also an error of a plain call ends in the task."""
    try:
        await app(scope, receive, send)
    except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the process for one request
        raise AppError(f"the application tried to exit: {error!r}") from error
