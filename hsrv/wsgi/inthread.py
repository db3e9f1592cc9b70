"""The part of a WSGI call that runs in another thread than the event loop's, and what the loop does meanwhile.

Promises: what the thread says is sent in order; an error of the thread is raised by `run`; the call is not over before
the thread is, even if it was cancelled, so whoever watches for calls that never end sees it. Nobody can interrupt a
thread: it hears that nobody waits any more by its next word, or before the next block is asked for.
"""

import asyncio
import math
import sys
import traceback
from collections.abc import Callable
from contextvars import Context
from functools import partial

from hsrv.common.errors import AppError, ClientDisconnected
from hsrv.http.host import trace_context
from hsrv.http.request.call import wait_for_client
from hsrv.http.request.exchange import Exchange
from hsrv.logs.logging import get_logger
from hsrv.net.context import later, soon_from_thread
from hsrv.net.waiting import until
from hsrv.system.realthreads import get_ident
from hsrv.wsgi.bridge import Bridge, let_go
from hsrv.wsgi.threads import Crew, Job

log = get_logger("hsrv.wsgi")

Produce = Callable[[Bridge], None]
"""Says on the bridge all there is to say. Run to its end once, whatever happens: at once, if nobody waits any more."""


class NoThreadError(Exception):
    """None became free in time. The application was not called."""


class InThread:
    """One of them."""

    __slots__ = (
        "_bridge",
        "_context",
        "_crew",
        "_error",
        "_exchange",
        "_gave_up",
        "_job",
        "_loop",
        "_patience",
        "_thread",
    )

    def __init__(
        self, exchange: Exchange, crew: Crew, context: Context, produce: Produce, patience: float = math.inf
    ) -> None:
        """`patience`: seconds that it may wait for a thread."""
        self._exchange = exchange
        self._crew = crew
        self._context = context
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._bridge = Bridge(partial(soon_from_thread, self._loop, exchange.wake))
        self._error: BaseException | None = None
        self._gave_up = False
        self._thread = 0
        """The identity of its thread; 0: it has none."""
        self._job: Job | None = partial(self._work, produce)

    async def run(self) -> None:
        """Run it, once. Raises what it raises, and NoThreadError if it found none in time."""
        assert self._job is not None
        timer = None
        if not self._crew.do(self._job) and self._patience < math.inf:
            timer = later(self._loop, self._patience, self._give_up)
        try:
            await self._deliver()
        except NoThreadError:
            raise  # nothing was begun
        except BaseException as error:
            self._stop()
            if isinstance(error, asyncio.CancelledError) and not self._bridge.is_over:
                self._report()
            await self._outlast()
            raise
        finally:
            self._job = None  # a cycle
            if timer is not None:
                timer.cancel()
        failure, self._error = self._error, None
        if failure is not None and not (self._bridge.is_stopped and isinstance(failure, ClientDisconnected)):
            raise failure

    async def _deliver(self) -> None:
        """Send what the thread says, until it says no more."""
        exchange, bridge = self._exchange, self._bridge
        while True:
            waiter = exchange.message_waiter()  # made before looking, so that no wake-up is lost
            while (message := bridge.take()) is not None:
                try:
                    is_slow = exchange.take(message)
                finally:
                    let_go(message)
                if is_slow:
                    await wait_for_client(exchange, exchange.link.conn.drained())
            if bridge.is_finished:
                return
            if self._gave_up:
                raise NoThreadError
            if nobody_waits(exchange):
                self._stop()
            await until(waiter)

    def _give_up(self) -> None:
        if self._job is not None and self._crew.withdraw(self._job):
            self._gave_up = True
            self._exchange.wake()

    def _stop(self) -> None:
        """Nobody waits for it any more."""
        self._bridge.stop()
        if self._job is not None and self._crew.withdraw(self._job):
            self._job()  # it had no thread yet: what is left to do takes no time

    async def _outlast(self) -> None:
        while not self._bridge.is_over:
            waiter = self._exchange.message_waiter()
            self._bridge.take()  # so that its end wakes us
            if not self._bridge.is_over:
                try:
                    await until(waiter)
                except asyncio.CancelledError:
                    continue
        self._error = None

    def _report(self) -> None:
        head = self._exchange.head
        log.warning(
            "a cancelled call goes on in its thread",
            method=head.method,
            path=head.path,
            stacks=self.stack(),
            **trace_context(self._exchange.trace),
        )

    def stack(self) -> str:
        """Where its thread is; "": it has none."""
        frame = sys._current_frames().get(self._thread)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""

    def _work(self, produce: Produce) -> None:
        """In the thread."""
        self._thread = get_ident()
        try:
            self._context.run(produce, self._bridge)
        except (SystemExit, KeyboardInterrupt) as error:
            self._error = AppError(f"the application tried to exit: {error!r}")
        except BaseException as error:  # the application's, whatever it is: the loop raises it
            self._error = error
        finally:
            self._thread = 0
            self._bridge.end()


def nobody_waits(exchange: Exchange) -> bool:
    """The client gets nothing more: it is gone, or the stream is to end. An event stream ends at the boundary of an
    event, which `Exchange` sees to."""
    return exchange.released or (exchange.ending and not exchange.encoder.event_stream)
