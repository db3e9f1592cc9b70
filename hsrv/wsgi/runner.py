"""The calls of a WSGI application in one process.

In a worker a call runs in the thread of the event loop, start to finish, or with `--threads` in one of so many. In the
pool each runs in a thread of its own (`--stream-threads`).
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from hsrv.common.asgi import Receive, Scope, Send
from hsrv.common.terms import Identity, Role
from hsrv.http.host import scope_extension
from hsrv.http.request.call import Call
from hsrv.http.request.exchange import Exchange
from hsrv.http.request.scope import ScopeBuilder
from hsrv.http.wire.forwarded import TrustedProxies
from hsrv.options.config import Config
from hsrv.wsgi.call import WSGICall
from hsrv.wsgi.environ import EnvironBuilder
from hsrv.wsgi.files import FileWrapper
from hsrv.wsgi.inthread import NoThreadError
from hsrv.wsgi.threads import Crew
from hsrv.wsgi.wrappers import with_refresh, with_server_timing

UNAVAILABLE: Final = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")]
"""Headers of a 503."""


class Runner:
    """To a host (`hsrv.http.contract.Caller`): calls its application, and builds what it is called with."""

    def __init__(
        self, app: Any, config: Config, identity: Identity, on_no_thread: Callable[[Exchange], None]
    ) -> None:
        """`app`: a callable of WSGI. `on_no_thread`: called when a call found no thread in time."""
        self.app: Any = app
        if config.server_timing:
            self.app = with_server_timing(self.app)
        if config.reload_browser:
            self.app = with_refresh(self.app, identity.generation)
        self._refresh_path = ""
        if config.reload_browser:
            from hsrv.develop.devpages import REFRESH_PATH  # noqa: PLC0415  # for development

            self._refresh_path = REFRESH_PATH
        self._generation = identity.generation
        self.settings = config
        self._on_no_thread = on_no_thread
        is_pool = identity.role is Role.POOL
        threads = config.threads if config.threads > 1 and not is_pool else 0
        self.running: Exchange | None = None
        self.crew = Crew(
            threads or config.stream_threads,
            config.stream_threads if threads else 0,
            name=f"hsrv-{identity.role}",
        )
        self._lends = threads > 0
        """Streams take no threads of calls."""
        self._patience: float | None = config.handoff_timeout if is_pool else None
        """How long a call waits for a thread; None: it needs none."""
        if threads:
            self._patience = config.queue_timeout
        self._in_threads: dict[Exchange, WSGICall] = {}
        """The calls that take a thread from the start."""
        self.places = threads or config.worker_concurrency
        """How many calls of a worker may be in progress."""
        self.scopes: ScopeBuilder = EnvironBuilder(
            root_path=config.root_path,
            proxies=TrustedProxies(config.forwarded_allow_ips),
            extension=scope_extension(identity),
            multithread=self._patience is not None,
            file_wrapper=FileWrapper,
        )

    def call(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        if exchange.head.path == self._refresh_path:
            return Call(exchange).run(self._tell_generation)
        call = WSGICall(self, exchange, self._patience)
        return call.run() if self._patience is None else self._watched(exchange, call)

    async def _tell_generation(self, scope: Scope, receive: Receive, send: Send) -> None:
        """No thread should wait for it."""
        from hsrv.develop.devpages import tell_generation  # noqa: PLC0415  # for development

        await tell_generation(self._generation, receive, send)

    async def _watched(self, exchange: Exchange, call: WSGICall) -> None:
        """A call that takes a thread: that of `--threads` until it is found to be a stream."""
        self._in_threads[exchange] = call
        try:
            await call.run()
        except NoThreadError:
            self._on_no_thread(exchange)
            exchange.take({"type": "http.response.start", "status": 503, "headers": UNAVAILABLE})
            exchange.take({"type": "http.response.body", "body": b"Service Unavailable\n"})
        finally:
            del self._in_threads[exchange]

    def stream_found(self, exchange: Exchange) -> None:
        """Another call may have its thread's place."""
        call = self._in_threads.get(exchange)
        if call is not None and self._lends and not call.lent:
            call.lent = self.crew.lend()
