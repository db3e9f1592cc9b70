"""Requests that the pool has read and a worker runs.

Owns them until they are in the adopt channel, and looks after them there while no worker receives. Promises: a request
that no worker has received within --queue-timeout is answered with 503, also when all workers hang or there is none; at
most --backlog requests wait here for room in the channel, of which nothing more is read; more get 503 at once.
"""

import math
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from hsrv.board.lasttaken import LastTaken
from hsrv.board.layout import Count
from hsrv.common.request import RequestHead
from hsrv.common.terms import EndReason
from hsrv.http.contract import Connection, Outcome
from hsrv.http.host import HTTPHost
from hsrv.ipc.channel import Channel, ChannelError, Packet
from hsrv.ipc.messages import Adoption, MessageError, RequestHandoff, Trace, decode_adoption
from hsrv.logs.logging import get_logger
from hsrv.net.conn import Conn
from hsrv.net.context import soon
from hsrv.net.poller import ReadyCheck
from hsrv.serving.admission import Admission
from hsrv.serving.desk import HandoffDesk, is_overdue, to_worker

STUCK_AFTER: Final = 1.0
"""Seconds for which packets lie in the adopt channel and no worker receives one, before the pool looks at them."""

LOOK_AGAIN: Final = 5.0
"""Seconds until the next look, at most. Earlier if a request is overdue then: to receive all and send them again takes
the pool some milliseconds."""

RECALL_BATCH: Final = 16
"""Packets received, or sent again, per turn of the loop."""

WHY: Final = "no worker was free in time"

log = get_logger("hsrv.pool")

Read = Callable[[Adoption, socket.socket], None]


class Returns:
    """Of one pool."""

    def __init__(
        self,
        host: HTTPHost,
        admission: Admission,
        adopt: tuple[Channel, Channel],
        *,
        last_taken: LastTaken,
        read: Read,
    ) -> None:
        """`adopt`: the ends of the channel. `read`: takes over a connection that lay there between two
        requests."""
        self._host = host
        self._admission = admission
        self._send, self._receive = adopt
        self._last_taken = last_taken
        self._read = read
        self._desk = HandoffDesk(
            self._send, host.loop, host.board, pack=to_worker, counted=Count.HANDOFFS_RETURNED
        )
        self._waits = ReadyCheck(self._receive.fileno())
        self._since = math.inf
        """loop.time() since which there has been something in the channel at each look."""
        self._returned = 0
        """Requests passed on, as of the last call of `taken`."""
        self._next_look = 0.0
        """loop.time() before which there is no need to."""
        self._receiving = False
        """Whether a look still receives packets."""
        self._kept: deque[Packet] = deque()
        """Looked at, and to be sent again."""

    def pass_on(self, connection: Connection, head: RequestHead, trace: Trace) -> Outcome:
        """Pass a request to the first worker that is free."""
        settings = self._host.settings
        if len(self._desk) >= settings.backlog:
            return self.refuse(connection, head, trace, "too many requests wait for a worker", EndReason.SHED)
        outcome = self._desk.pass_on(connection, head, trace, patience=settings.queue_timeout)
        if outcome is Outcome.LATER:
            connection.conn.unwatch()  # what waits here must not grow
        elif outcome is Outcome.REFUSED:
            return self.refuse(connection, head, trace, "the server is over", EndReason.SHED)
        return outcome

    def taken(self) -> bool | None:
        """Whether workers have received what was passed on since the last call. None: nothing was."""
        returned = self._host.board.counted(Count.HANDOFFS_RETURNED)
        if returned == self._returned:
            return None
        self._returned = returned
        return not self._waits

    def refuse(
        self, connection: Connection, head: RequestHead, trace: Trace, why: str, cause: EndReason
    ) -> Outcome:
        """Answer with 503."""
        self._admission.refuse_request(connection, head, trace, why, cause)
        return Outcome.REFUSED

    def close(self) -> None:
        """Whatever is being looked at goes back into the channel."""
        self._receiving = False
        while self._kept:
            self._send_again(self._kept.popleft())
        self._desk.close()
        self._waits.close()

    # what no worker receives

    def sweep(self, now: float) -> None:
        """Look after what lies in the channel. Called periodically."""
        if self._desk.held:
            return
        if not self._waits:
            self._since, self._next_look = math.inf, 0.0
            return
        self._since = min(self._since, now)
        stuck = now - max(self._since, self._last_taken.adopted_at) >= STUCK_AFTER
        if stuck and now >= self._next_look:
            self._next_look = now + LOOK_AGAIN
            self._desk.held = self._receiving = True
            self._look_on()

    def refuse_all(self) -> None:
        """No worker will ever receive anything: answer whatever lies in the channel."""
        while self._kept:
            self._look_at(self._kept.popleft(), patience=0.0)
        while (packet := self._next()) is not None:
            self._look_at(packet, patience=0.0)

    def _look_on(self) -> None:
        """A part of a look: in their order, all packets are received, and answered if they are overdue. The others are
        sent again, before any that comes meanwhile."""
        with self._host.turn:
            for _ in range(RECALL_BATCH):
                if self._receiving:
                    self._receive_one()
                elif self._kept:
                    self._send_again(self._kept.popleft())
                else:
                    self._desk.held = False
                    return
        soon(self._host.loop, self._look_on)

    def _receive_one(self) -> None:
        packet = self._next()
        if packet is None:
            self._receiving = False
        elif not self._look_at(packet, self._host.settings.queue_timeout):
            self._kept.append(packet)

    def _next(self) -> Packet | None:
        try:
            return self._receive.receive()
        except ChannelError:  # no descriptors at present, or the supervisor is gone
            return None

    def _look_at(self, packet: Packet, patience: float) -> bool:
        """Whether it is settled: answered, read here, or dropped. Else it is still the caller's."""
        try:
            message = decode_adoption(packet.payload)
            if isinstance(message, RequestHandoff):
                if patience and not is_overdue(message.trace, self._host.loop.time(), patience):
                    due = message.trace.received_at + patience
                    self._next_look = min(self._next_look, due if message.trace.received_at else math.inf)
                    return False
                self._refuse(message, packet.take_socket())
            else:
                self._read(message, packet.take_socket())
        except (MessageError, IndexError, OSError) as error:
            self._host.board.count(Count.UNDECODABLE)
            log.error("packet dropped", error=str(error), descriptors=len(packet))
        packet.close()
        return True

    def _refuse(self, message: RequestHandoff, sock: socket.socket) -> None:
        host = self._host
        if host.observer is not None:
            message = host.observer.adopted(message)
        connection = self._admission.enter(Conn(sock, host.loop, message.origin))
        self.refuse(connection, message.head, message.trace, WHY, EndReason.QUEUE_TIMEOUT)

    def _send_again(self, packet: Packet) -> None:
        with packet:
            try:
                self._send.send(packet.payload, *packet.fds)
            except ChannelError:  # others have filled it meanwhile
                self._look_at(packet, patience=0.0)
