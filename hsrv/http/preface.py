"""State PREFACE: a PROXY header comes first, or may (--proxy-protocol). `hsrv.http.wire.proxy` reads it.

Promise: no request is served before the header is read; then its addresses are those of the connection. A missing
header is not answered: a proxy that sends none doesn't expect HTTP here.
"""

from typing import Final

import msgspec

from hsrv.common.terms import EndReason, ProxyProtocol
from hsrv.http.contract import Outcome
from hsrv.http.ending import EndingConnection
from hsrv.http.states import Event
from hsrv.http.wire.proxy import ProxyError, read_proxy_header

LATE: Final = "no PROXY header within --header-timeout"
INCOMPLETE: Final = "the PROXY header is incomplete"


def read_preface(connection: EndingConnection) -> Outcome:
    """Take the header from what was read. HERE: requests may follow; LATER: it is incomplete; REFUSED."""
    try:
        header = read_proxy_header(connection.buffer, connection.host.settings.proxy_protocol)
    except ProxyError as error:
        refuse_preface(connection, str(error))
        return Outcome.REFUSED
    if header is None:
        return Outcome.LATER
    del connection.buffer[: header.consumed]
    origin = connection.conn.origin
    connection.conn.origin = msgspec.structs.replace(
        origin,
        client=header.client or origin.client,
        server=header.server or origin.server,
        proxy_header=False,
    )
    connection.move(Event.IDENTIFIED)
    return connection.host.delegate.identified(connection)


def refuse_preface(connection: EndingConnection, why: str) -> None:
    connection.close(EndReason.PROXY_HEADER)
    connection.host.proxy_refused(connection, why)


def end_preface(connection: EndingConnection) -> None:
    """Nothing more comes. A header that was begun is a fault; a connection without a byte, or one that needs none, is
    not."""
    if connection.buffer and connection.host.settings.proxy_protocol is not ProxyProtocol.AUTO:
        refuse_preface(connection, INCOMPLETE)
    else:
        connection.close(EndReason.CLIENT_GONE)


def preface_timed_out(connection: EndingConnection) -> None:
    if connection.host.settings.proxy_protocol is ProxyProtocol.AUTO:
        connection.close(EndReason.FIRST_BYTE_TIMEOUT)
    else:
        refuse_preface(connection, LATE)
