"""One call of the application: its receive() and send(), where they wait. What they do: `hsrv.http.request.exchange`.

Promises: a call that waits for its client occupies no place meanwhile; once the application has returned, nothing that
it keeps of its request keeps the exchange or its connection. So also what waits lets go of the exchange when it is
done: task groups make cycles of the tracebacks of what they cancelled, and these lead here. Never compiled, for the
reason in `hsrv.net.waiting`.

Spec: ASGI HTTP 2.5, https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable

from hsrv.common.asgi import Application, Message
from hsrv.common.errors import AppError
from hsrv.http.request.exchange import Exchange, drop
from hsrv.net.waiting import until


class Call:
    """The application's end of an exchange."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Exchange | None = exchange
        """None: the application has returned."""

    async def run(self, app: Application) -> None:
        """Call the application. A coroutine of our own, so that also an error of a plain call ends in the task."""
        assert self._exchange is not None
        try:
            await app(self._exchange.scope, self.receive, self.send)
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the process for one request
            raise AppError(f"the application tried to exit: {error!r}") from error
        finally:
            self._exchange = None

    async def receive(self) -> Message:
        """ASGI receive: `http.request`, then `http.disconnect` once the client is gone or the response complete."""
        exchange = self._exchange
        if exchange is None:
            return {"type": "http.disconnect"}
        try:
            message = exchange.next_message()
            while message is None:
                await wait_for_news(exchange)
                message = exchange.next_message()
        finally:
            del exchange
        return message

    async def send(self, message: Message) -> None:
        """ASGI send. Once the client is gone, raises ClientDisconnected (an OSError) unless the message is the last of
        the response. Raises AppError on misuse."""
        exchange = self._exchange
        if exchange is None:
            drop(message)
            return
        try:
            if exchange.take(message):
                await wait_for_client(exchange, exchange.link.conn.drained())
        finally:
            del exchange


async def wait_for_news(exchange: Exchange) -> None:
    """Until `next_message()` may have something to say."""
    waiter = exchange.message_waiter()
    exchange.receiving += 1
    try:
        if exchange.decoder.done:
            await until(waiter)
        else:
            await wait_for_client(exchange, until(waiter))
    finally:
        exchange.receiving -= 1
        del exchange


async def wait_for_client(exchange: Exchange, client: Awaitable[None]) -> None:
    """Whoever waits for the client takes nobody's place meanwhile."""
    exchange.hold_up()
    try:
        await client
    finally:
        exchange.go_on()
        del exchange
