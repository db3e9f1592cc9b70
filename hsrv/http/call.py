"""One call of the application: its receive() and send(), where they wait. What they do is `hsrv.http.exchange`'s.

Promise: whoever waits for the client takes nobody's place meanwhile. Never compiled, for the reason in `hsrv.waiting`.

Spec: ASGI HTTP 2.5, https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable

from hsrv.asgi import Application, Message
from hsrv.errors import AppError
from hsrv.http.exchange import Exchange
from hsrv.waiting import until


class Call:
    """The application's end of an exchange."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def run(self, app: Application) -> None:
        """Call the application. A coroutine of our own, so that also an error of a plain call ends in the task."""
        try:
            await app(self._exchange.scope, self.receive, self.send)
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the process for one request
            raise AppError(f"the application tried to exit: {error!r}") from error

    async def receive(self) -> Message:
        """ASGI receive: `http.request`, then `http.disconnect` once the client is gone or the response complete."""
        exchange = self._exchange
        message = exchange.next_message()
        while message is None:
            waiter = exchange.message_waiter()
            exchange.receiving += 1
            try:
                if exchange.decoder.done:
                    await until(waiter)
                else:
                    await self._wait_for_client(until(waiter))
            finally:
                exchange.receiving -= 1
            message = exchange.next_message()
        return message

    async def send(self, message: Message) -> None:
        """ASGI send. Raises ClientDisconnected (an OSError) once the client is gone, AppError on misuse."""
        exchange = self._exchange
        exchange.take(message)
        if exchange.is_full:
            await self._wait_for_client(exchange.link.conn.drained())

    async def _wait_for_client(self, client: Awaitable[None]) -> None:
        self._exchange.hold_up()
        try:
            await client
        finally:
            self._exchange.go_on()
