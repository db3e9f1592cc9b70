"""The WebSockets of a pool: counted while they are open, and once when they have ended."""

from hsrv.asyncpool.pool import AsyncPool
from hsrv.asyncpool.websockets import CLOSE_TIMEOUT, settings_of
from hsrv.board.layout import Count
from hsrv.ipc.messages import WebSocketHandoff
from hsrv.options.config import Config
from tests.unit.serving.inmemory import ORIGIN, TRACE, Serving, head_of, serving

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def opened(served: Serving[AsyncPool]) -> None:
    message = WebSocketHandoff(origin=ORIGIN, head=head_of("/ws", *UPGRADE), buffered=b"", trace=TRACE)
    client = served.send(served.handoffs[0], message)
    served.read(client, b" 101 ")


def test_each_option_reaches_the_setting_of_its_name() -> None:
    options = Config(
        ws_max_message=1001,
        ws_max_inflated=1002,
        ws_message_timeout=3.0,
        ws_ping_interval=4.0,
        ws_ping_timeout=5.0,
        ws_per_message_deflate=False,
        stream_send_timeout=6.0,
    )
    settings = settings_of(options)
    assert (settings.max_message, settings.max_inflated, settings.message_timeout) == (1001, 1002, 3.0)
    assert (settings.ping_interval, settings.ping_timeout) == (4.0, 5.0)
    assert (settings.per_message_deflate, settings.send_timeout) == (False, 6.0)
    assert settings.close_timeout == CLOSE_TIMEOUT


def test_an_accepted_one_counts_as_opened_and_as_open() -> None:
    with serving(AsyncPool) as served:
        opened(served)
        opened(served)
        assert served.count(Count.WEBSOCKETS_OPENED) == 2
        assert served.report().streams["/ws"].count == 2
