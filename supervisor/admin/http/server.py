"""The HTTP/1.1 server of the admin address.

Owns its connections. Promises: a client that stalls, floods or disconnects affects only itself; a handler that raises
affects only its own request; no client is refused because of one without a complete request. Runs on the supervisor's
loop, so a handler must not compute for long.
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

from hsrv.logs.floods import lines_due
from hsrv.logs.logging import get_logger
from hsrv.net.poller import wait_readable, wait_writable
from hsrv.supervisor.admin.http.address import MAX_CONNECTIONS
from hsrv.supervisor.admin.http.guard import Guard
from hsrv.supervisor.admin.http.route import AdminRoute, Answer, Request, Response, Stream, problem
from hsrv.supervisor.sockets.listeners import Listener

MAX_STREAMS: Final = 16
"""Connections with a stream; the others are for probes and scrapes."""

MAX_AT_ONCE: Final = 8
"""Above `MAX_CONNECTIONS`, while all of those are being answered: for requests that are complete at once, as those of
probes are."""

AT_ONCE_TIMEOUT: Final = 1.0
"""Seconds for such a request and its response, in total, so that these places are soon free again."""

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of a request's head."""

BODY_LIMIT: Final = 64 * 1024
"""Bytes of a request's body."""

IDLE_TIMEOUT: Final = 75.0
"""Seconds without a request."""

REQUEST_TIMEOUT: Final = 10.0
"""Seconds for a request to arrive, from its first byte to the last one of its body."""

ANSWER_TIMEOUT: Final = 30.0
"""Seconds for a handler, which may ask processes that don't answer."""

SEND_TIMEOUT: Final = 10.0
"""Seconds for a client to read what was written: a response, or one chunk of a stream."""

LINGER_TIMEOUT: Final = 1.0
"""Seconds for a client to read the last response and close. Closing with unread data would reset the connection, and
the response might be lost (RFC 9112, section 9.6)."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds for the generator of a stream to clean up."""

EXHAUSTED_PAUSE: Final = 0.5
"""Seconds without accepting after EMFILE."""

ALWAYS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Default header fields of every response."""

TOO_LONG: Final = problem(413, f"the limit of a body is {BODY_LIMIT} bytes")

log = get_logger("hsrv.supervisor")


class AdminServer:
    """Serves a table of paths."""

    def __init__(self, listeners: Sequence[Listener], routes: Mapping[str, AdminRoute], guard: Guard) -> None:
        self.listeners = listeners
        self.routes = routes
        self.guard = guard
        self.streams = 0
        self._connections: dict[_Connection, None] = {}
        """In the order in which they became without a complete request."""

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
                self._let_in(sock, tasks)
            else:
                sock.close()
                _tell("admin client refused", "all places are taken by requests in progress")

    def _has_room(self) -> bool:
        if len(self._connections) < MAX_CONNECTIONS:
            return True
        slowest = next((one for one in self._connections if one.is_incomplete), None)
        if slowest is None:
            return len(self._connections) < MAX_CONNECTIONS + MAX_AT_ONCE
        del self._connections[slowest]
        slowest.scope.cancel()
        if slowest.has_begun:
            _tell("admin client cut", "its request is not complete, and another client came")
        return True

    def _let_in(self, sock: socket.socket, tasks: TaskGroup) -> None:
        connection = _Connection(self, sock)
        if len(self._connections) >= MAX_CONNECTIONS:
            connection.hurry()
        self._connections[connection] = None
        tasks.start_soon(self._serve, connection)

    async def _serve(self, connection: "_Connection") -> None:
        try:
            with connection.scope:
                await connection.run()
        except Exception:  # a defect of ours; it must not end the supervisor
            log.exception("admin connection failed")
        finally:
            self._connections.pop(connection, None)
            connection.close()

    def became_incomplete(self, connection: "_Connection") -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None


def _tell(event: str, why: str) -> None:
    if count := lines_due(event):
        log.warning(event, why=why, count=count, limit=MAX_CONNECTIONS)


class _Connection:
    """One client."""

    def __init__(self, server: AdminServer, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.scope = anyio.CancelScope()
        self.is_incomplete = True
        """There is no complete request that is still to be answered."""
        self.has_begun = False
        """Part of a request has arrived."""
        self._deadline = 0.0
        """Of the request that has begun."""
        self._is_last = False
        """The next response is the last one."""
        self._server = server
        self._sock = sock
        self._local = sock.family == socket.AF_UNIX
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    def close(self) -> None:
        self._sock.close()

    def hurry(self) -> None:
        """Allow only one request, which must be complete soon."""
        self.scope.deadline = anyio.current_time() + AT_ONCE_TIMEOUT
        self._is_last = True

    async def run(self) -> None:
        """Serve one request after another."""
        with contextlib.suppress(
            OSError, TimeoutError, h11.LocalProtocolError
        ):  # the client is gone or stalls
            while await self._exchange():
                self._http.start_next_cycle()
                self._wait_again()
            self._wait_again()
            await self._linger()

    def _wait_again(self) -> None:
        self.is_incomplete, self.has_begun = True, False
        self._server.became_incomplete(self)

    async def _exchange(self) -> bool:
        """One request and its response. Returns whether there may be another."""
        try:
            request = await self._request()
            if request is None:
                return False
            await self._answer(request, await self._result_of(request))
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    # receiving

    async def _request(self) -> h11.Request | None:
        """The head of a request; None if no further one comes."""
        if not self._http.trailing_data[0]:
            with anyio.fail_after(IDLE_TIMEOUT):
                await wait_readable(self._sock.fileno())
        self.has_begun = True
        self._deadline = anyio.current_time() + REQUEST_TIMEOUT
        with self._in_time():
            event = await self._event()
        return event if isinstance(event, h11.Request) else None

    def _in_time(self) -> contextlib.AbstractContextManager[anyio.CancelScope]:
        return anyio.fail_after(self._deadline - anyio.current_time())

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._receive())
        assert event is not h11.NEED_DATA
        return event  # type: ignore[return-value]  # NEED_DATA is excluded above

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._sock.recv(HEAD_LIMIT)
            except (BlockingIOError, InterruptedError):
                await wait_readable(self._sock.fileno())

    async def _body(self) -> bytes | None:
        """None if it is too large."""
        data = bytearray()
        with self._in_time():
            while isinstance(event := await self._event(), h11.Data):
                data += event.data
                if len(data) > BODY_LIMIT:
                    return None
        return bytes(data)

    def _body_is_there(self) -> bool:
        """Whether all of it came with the head; it is dropped."""
        while isinstance(event := self._http.next_event(), h11.Data):
            pass
        return isinstance(event, h11.EndOfMessage)

    # handling

    async def _result_of(self, event: h11.Request) -> Answer:
        """The response. The head is checked before the body is read."""
        method, headers = event.method.decode(), _headers(event)
        path, _, query = event.target.decode("latin-1").partition("?")
        route = self._server.routes.get(path)
        refusal = self._server.guard.refusal(route, method, headers, local=self._local)
        if refusal is None and _is_long(headers.get("content-length", "")):
            refusal = TOO_LONG
        if refusal is not None or route is None:
            log.debug("admin request refused", method=method, path=path, status=refusal and refusal.status)
            self._is_last |= not self._body_is_there()
            return refusal or problem(404, "there is nothing here")
        body = await self._body()
        if body is None:
            self._is_last = True
            return TOO_LONG
        self.is_incomplete = False
        request = Request(
            method="GET" if method == "HEAD" else method,
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=headers,
            body=body,
        )
        return await self._handled(route, request)

    async def _handled(self, route: AdminRoute, request: Request) -> Answer:
        try:
            with anyio.fail_after(ANSWER_TIMEOUT):
                return await route.handler(request)
        except TimeoutError:
            return problem(504, f"no result within {ANSWER_TIMEOUT:g} s")
        except Exception:  # a defect of ours; the supervisor has to go on
            log.exception("admin request failed", path=request.path)
            return problem(500, "the server's log says why")

    # sending

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
                problem(503, f"{MAX_STREAMS} streams are open already", {"retry-after": "5"}), head_only
            )
        else:
            await self._stream(answer)

    async def _send_whole(self, answer: Response, head_only: bool) -> None:
        length = {"content-length": str(len(answer.body))}
        data = () if head_only or not answer.body else (h11.Data(data=answer.body),)
        await self._send(*self._head(answer.status, answer, length), *data, h11.EndOfMessage())

    def _head(self, status: int, answer: Answer, more: Mapping[str, str]) -> tuple[h11.Response]:
        fields = {**ALWAYS, "content-type": answer.content_type, **more, **answer.headers}
        if self._is_last:
            fields["connection"] = "close"
        reason = HTTPStatus(status).phrase
        return (h11.Response(status_code=status, headers=list(fields.items()), reason=reason.encode()),)

    async def _stream(self, answer: Stream) -> None:
        """The connection ends with it: data from the client is dropped."""
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
                await anyio.lowlevel.checkpoint()  # a flood must not block the loop
        scope.cancel()

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """The request is not valid HTTP."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send_whole(
                problem(error.error_status_hint, str(error), {"connection": "close"}), False
            )

    async def _send(self, *events: h11.Event) -> None:
        """Raises TimeoutError if the client doesn't read."""
        view = memoryview(b"".join(self._http.send(event) or b"" for event in events))
        with anyio.fail_after(SEND_TIMEOUT):
            while view:
                try:
                    view = view[self._sock.send(view) :]
                except (BlockingIOError, InterruptedError):
                    await wait_writable(self._sock.fileno())

    async def _linger(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)
        with anyio.move_on_after(LINGER_TIMEOUT):
            while await self._receive():
                await anyio.lowlevel.checkpoint()


def _is_long(content_length: str) -> bool:
    return len(content_length) > len(str(BODY_LIMIT)) or int(content_length or 0) > BODY_LIMIT


def _headers(event: h11.Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in event.headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
