"""The queue of received messages."""

from hsrv.asyncpool.websocket.codecs.events import Received
from hsrv.asyncpool.websocket.inbox import INBOX_BYTES, INBOX_MESSAGES, Inbox


def has_room(inbox: Inbox) -> bool:
    return not inbox.full


def test_messages_leave_in_the_order_they_came() -> None:
    inbox = Inbox()
    for text in ("a", "b"):
        inbox.put(Received(text, 1))
    assert [inbox.take().data, inbox.take().data, len(inbox)] == ["a", "b", 0]


def test_it_is_full_at_a_number_of_messages_and_has_room_again_after_one_is_taken() -> None:
    inbox = Inbox()
    for _ in range(INBOX_MESSAGES):
        assert has_room(inbox)
        inbox.put(Received("", 0))
    assert inbox.full
    inbox.take()
    assert has_room(inbox)


def test_it_is_full_at_a_number_of_bytes_and_empty_when_cleared() -> None:
    inbox = Inbox()
    inbox.put(Received(b"", INBOX_BYTES - 1))
    assert has_room(inbox)
    inbox.put(Received(b"", 1))
    assert inbox.full
    inbox.clear()
    assert has_room(inbox)
    assert len(inbox) == 0
