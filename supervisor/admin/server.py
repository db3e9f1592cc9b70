"""HTTP/1.1 for the few who look after the server.

Owns the connections of the admin address. Promises: whoever stalls, floods or leaves costs himself; a handler that
raises costs its own request; nobody is refused for the sake of one who is idle. Runs on the supervisor's loop, so a
handler must not compute for long.
"""

import contextlib
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import anyio
import anyio.lowlevel
import h11
from anyio.abc import TaskGroup

from hsrv.logging import get_logger
from hsrv.poller import wait_readable, wait_writable
from hsrv.supervisor.admin.address import MAX_CONNECTIONS
from hsrv.supervisor.admin.guard import Guard
from hsrv.supervisor.admin.route import Answer, Request, Response, Route, Stream, problem
from hsrv.supervisor.listeners import Listener

MAX_STREAMS: Final = 16
"""Of them with an answer that goes on: the others are for probes and scrapes."""

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of a request's head."""

BODY_LIMIT: Final = 64 * 1024
"""Bytes of a request's body."""

IDLE_TIMEOUT: Final = 75.0
"""Seconds without a request."""

REQUEST_TIMEOUT: Final = 10.0
"""Seconds for a request to arrive, from its first byte on."""

ANSWER_TIMEOUT: Final = 30.0
"""Seconds for a handler: it may ask processes that don't answer."""

SEND_TIMEOUT: Final = 10.0
"""Seconds for a client to take what was written."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds for the generator of a stream to clean up."""

EXHAUSTED_PAUSE: Final = 0.5
"""Seconds without accepting after EMFILE."""

ALWAYS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Header fields of every answer that says nothing else."""

log = get_logger("hsrv.supervisor")


class AdminServer:
    """Serves a table of paths."""

    def __init__(self, listeners: Sequence[Listener], routes: Mapping[str, Route], guard: Guard) -> None:
        self.listeners = listeners
        self.routes = routes
        self.guard = guard
        self.streams = 0
        self._connections: dict[_Connection, None] = {}
        """Whoever became idle first stands first."""

    async def serve(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            for listener in self.listeners:
                tasks.start_soon(self._accept, listener, tasks)

    async def _accept(self, listener: Listener, tasks: TaskGroup) -> None:
        while True:
            await wait_readable(listener.sock.fileno())
            try:
                sock, _ = listener.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except OSError as error:
                log.warning("admin client not accepted", error=str(error), pause=EXHAUSTED_PAUSE)
                await anyio.sleep(EXHAUSTED_PAUSE)
                continue
            if self._has_room():
                tasks.start_soon(self._serve, _Connection(self, sock))
            else:
                log.warning("admin client refused", limit=MAX_CONNECTIONS)
                sock.close()

    def _has_room(self) -> bool:
        if len(self._connections) < MAX_CONNECTIONS:
            return True
        idle = next((one for one in self._connections if one.is_idle), None)
        if idle is None:
            return False
        del self._connections[idle]
        idle.scope.cancel()
        return True

    async def _serve(self, connection: "_Connection") -> None:
        self._connections[connection] = None
        try:
            with connection.scope:
                await connection.run()
        except Exception:  # a defect of ours; it must not end the supervisor
            log.exception("admin connection failed")
        finally:
            self._connections.pop(connection, None)
            connection.close()

    def became_idle(self, connection: "_Connection") -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None


class _Connection:
    """One client."""

    def __init__(self, server: AdminServer, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.scope = anyio.CancelScope()
        self.is_idle = True
        self._server = server
        self._sock = sock
        self._local = sock.family == socket.AF_UNIX
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    def close(self) -> None:
        self._sock.close()

    async def run(self) -> None:
        """Request after request."""
        with contextlib.suppress(
            OSError, TimeoutError, h11.LocalProtocolError
        ):  # the client is gone, or stalls
            while await self._exchange():
                self._http.start_next_cycle()
                self.is_idle = True
                self._server.became_idle(self)

    async def _exchange(self) -> bool:
        """One request and its answer. Whether there may be another."""
        try:
            request = await self._request()
            if request is None:
                return False
            await self._answer(request, await self._result_of(request))
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    # in

    async def _request(self) -> h11.Request | None:
        """A request's head; None when there is none to come."""
        if not self._http.trailing_data[0]:
            with anyio.fail_after(IDLE_TIMEOUT):
                await wait_readable(self._sock.fileno())
        self.is_idle = False
        with anyio.fail_after(REQUEST_TIMEOUT):
            event = await self._event()
        return event if isinstance(event, h11.Request) else None

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._receive())
        assert event is not h11.NEED_DATA
        return event  # type: ignore[return-value]  # it is neither of the other two

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._sock.recv(HEAD_LIMIT)
            except (BlockingIOError, InterruptedError):
                await wait_readable(self._sock.fileno())

    async def _body(self) -> bytes | None:
        """None when there is too much of it."""
        data = bytearray()
        with anyio.fail_after(REQUEST_TIMEOUT):
            while isinstance(event := await self._event(), h11.Data):
                data += event.data
                if len(data) > BODY_LIMIT:
                    return None
        return bytes(data)

    # between

    async def _result_of(self, event: h11.Request) -> Answer:
        """What is answered."""
        method, headers = event.method.decode(), _headers(event)
        path, _, query = event.target.decode("latin-1").partition("?")
        route = self._server.routes.get(path)
        body = await self._body()
        if body is None:
            return problem(413, f"the limit of a body is {BODY_LIMIT} bytes")
        refusal = self._server.guard.refusal(route, method, headers, local=self._local)
        if refusal is not None or route is None:
            log.debug("admin request refused", method=method, path=path, status=refusal and refusal.status)
            return refusal or problem(404, "there is nothing here")
        request = Request(
            method="GET" if method == "HEAD" else method,
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=headers,
            body=body,
        )
        return await self._handled(route, request)

    async def _handled(self, route: Route, request: Request) -> Answer:
        try:
            with anyio.fail_after(ANSWER_TIMEOUT):
                return await route.handler(request)
        except TimeoutError:
            return problem(504, f"not within {ANSWER_TIMEOUT:g} s")
        except Exception:  # a defect of ours; the supervisor has more to do than this
            log.exception("admin request failed", path=request.path)
            return problem(500, "the server's log says why")

    # out

    async def _answer(self, event: h11.Request, answer: Answer) -> None:
        head_only = event.method == b"HEAD"
        if isinstance(answer, Response):
            await self._send_whole(answer, head_only)
        elif head_only:
            await answer.chunks.aclose()
            await self._send(*self._head(200, answer, {}), h11.EndOfMessage())
        elif self._server.streams >= MAX_STREAMS:
            await answer.chunks.aclose()
            await self._send_whole(
                problem(503, f"{MAX_STREAMS} look on already", {"retry-after": "5"}), head_only
            )
        else:
            await self._stream(answer)

    async def _send_whole(self, answer: Response, head_only: bool) -> None:
        length = {"content-length": str(len(answer.body))}
        data = () if head_only or not answer.body else (h11.Data(data=answer.body),)
        await self._send(*self._head(answer.status, answer, length), *data, h11.EndOfMessage())

    def _head(self, status: int, answer: Answer, more: Mapping[str, str]) -> tuple[h11.Response]:
        fields = {**ALWAYS, "content-type": answer.content_type, **more, **answer.headers}
        reason = HTTPStatus(status).phrase
        return (h11.Response(status_code=status, headers=list(fields.items()), reason=reason.encode()),)

    async def _stream(self, answer: Stream) -> None:
        """The connection ends with it: what the client says meanwhile is not kept."""
        self._server.streams += 1
        try:
            await self._send(*self._head(200, answer, {"connection": "close"}))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_gone, tasks.cancel_scope)
                try:
                    await self._pass_on(answer.chunks)
                except (OSError, TimeoutError) as error:
                    log.debug("admin client cut", error=repr(error))
                except Exception:  # a defect of ours
                    log.exception("admin stream failed")
                tasks.cancel_scope.cancel()
        finally:
            self._server.streams -= 1
            with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await answer.chunks.aclose()

    async def _pass_on(self, chunks: AsyncGenerator[bytes, None]) -> None:
        async for chunk in chunks:
            if chunk:
                await self._send(h11.Data(data=chunk))
        await self._send(h11.EndOfMessage())

    async def _until_gone(self, scope: anyio.CancelScope) -> None:
        with contextlib.suppress(OSError):
            while await self._receive():
                await anyio.lowlevel.checkpoint()  # a flood must not keep the loop to itself
        scope.cancel()

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """It is no HTTP."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send_whole(
                problem(error.error_status_hint, str(error), {"connection": "close"}), False
            )

    async def _send(self, *events: h11.Event) -> None:
        """Raises TimeoutError when the client takes nothing."""
        view = memoryview(b"".join(self._http.send(event) or b"" for event in events))
        while view:
            try:
                view = view[self._sock.send(view) :]
            except (BlockingIOError, InterruptedError):
                with anyio.fail_after(SEND_TIMEOUT):
                    await wait_writable(self._sock.fileno())


def _headers(event: h11.Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in event.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
