"""How a connection moves to another process, with all that was read of it.

Promise: until the packet is sent it is ours, and served here; from then on nothing of it is touched.
"""

import math

import msgspec

from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.events.types import Move
from hsrv.http.ending import EndingConnection
from hsrv.http.observer import give
from hsrv.http.states import Event, State
from hsrv.ipc.channel import ChannelError
from hsrv.ipc.messages import (
    ConnectionHandoff,
    Origin,
    ParkedHandoff,
    RequestHandoff,
    StreamingHandoff,
    Trace,
    WebSocketHandoff,
    encode,
)
from hsrv.net.conn import Conn, Sender


class MovingConnection(EndingConnection):
    """A connection that can be given away."""

    __slots__ = ()

    def give(self, channel: Sender, packet: bytes, kind: Move) -> None:
        watched = self.conn.reading
        try:
            give(self.conn, channel, packet, kind, self.host.observer)
        except ChannelError:
            if watched:
                self.conn.watch(self._on_readable)
            raise
        self._leave()

    def release(self) -> tuple[Conn, bytes]:
        conn, buffered = self.conn, bytes(self.buffer)
        conn.unwatch()
        conn.on_broken = conn.on_flushed = None
        conn.origin = self.origin()
        deadline = self.deadline
        self._leave()
        self.deadline = deadline
        return conn, buffered

    def _leave(self) -> None:
        """The socket is not ours any more."""
        self.move(Event.GIVEN)
        self.deadline = math.inf
        self.waiting = None
        self.host.closed(self, EndReason.HANDED_OFF)

    def origin(self) -> Origin:
        origin = self.conn.origin
        if self.served == origin.requests_served:
            return origin
        generation = self.host.identity.generation
        return msgspec.structs.replace(origin, requests_served=self.served, generation=generation)

    def handoff(self, head: RequestHead, trace: Trace) -> bytes:
        kind = WebSocketHandoff if head.websocket else StreamingHandoff
        return encode(kind(origin=self.origin(), head=head, buffered=bytes(self.buffer), trace=trace))

    def adoption(self) -> bytes:
        return encode(ConnectionHandoff(origin=self.origin(), buffered=bytes(self.buffer)))

    def request(self, head: RequestHead, trace: Trace) -> bytes:
        return encode(
            RequestHandoff(origin=self.origin(), head=head, buffered=bytes(self.buffer), trace=trace)
        )

    def parking(self) -> bytes:
        return encode(
            ParkedHandoff(origin=self.origin(), deadline=self.deadline, buffered=bytes(self.buffer))
        )

    @property
    def unused(self) -> bool:
        """Nothing of a request was read that is not answered."""
        return self.state is State.IDLE or (self.state is State.PREFACE and not self.buffer)

    def rests_since(self, now: float) -> float:
        """Seconds for which it has been idle, with nothing read: what the parking lot takes. 0: it isn't."""
        if self.state is not State.IDLE or self.buffer:
            return 0.0
        settings = self.host.settings
        limit = settings.keep_alive if self.served else settings.header_timeout
        return now - (self.deadline - limit)
