"""The life of a client connection as a table: in which state what is done, what may follow, and how long it may last.
Pure.

The one thing that moves a connection is `Connection.move` (`hsrv.http.contract`), by an event of this table; an event
that the present state doesn't allow raises and changes nothing. For each `Reading`, `EndOfInput` and `Lateness`
`hsrv.http.connection` has one method.

    ┌───────────────────────── FINISHED (keep-alive) ◄──────────────────────┐
    ▼                                                                       │
    IDLE ──► READING ──► (WAITING) ──► (BODY) ──► RUNNING ──► (WRITING) ──► (DISCARDING)
      └───────────┴────────────┴── HANDED_OFF                    any ──► LINGERING ──► CLOSED

With --proxy-protocol a connection of a trusted proxy begins in PREFACE, before IDLE.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from hsrv.common.tables import Table


class State(Enum):
    PREFACE = auto()
    """A PROXY header is still to come, or may be; nothing else was read."""
    IDLE = auto()
    """Between two requests; nothing of the next was read."""
    READING = auto()
    """Part of a head was read."""
    WAITING = auto()
    """A head is complete; it waits for a free place in this process, or for room in the handoff channel."""
    BODY = auto()
    """A short body of known length is read before the application is called, or what comes of it within BODY_MOMENT."""
    RUNNING = auto()
    """The application was called; its response is not complete."""
    WRITING = auto()
    """The response is complete, the client has not taken all of it."""
    DISCARDING = auto()
    """The response is written; the rest of the request's body is read and dropped."""
    LINGERING = auto()
    """Everything is written; what the client still sends is read and dropped until it closes."""
    CLOSED = auto()
    HANDED_OFF = auto()

    __hash__ = object.__hash__  # Enum's is Python code, and the tables are asked for every request


class Event(Enum):
    """What moves a connection."""

    IDENTIFIED = auto()
    """The PROXY header is read, or there is none."""
    HEAD_BEGUN = auto()
    """Part of a head has come."""
    HELD = auto()
    """The request can't be served yet."""
    BODY_AWAITED = auto()
    """The application is to be called once the body is there."""
    CALLED = auto()
    """The application is called."""
    RESPONSE_KEPT = auto()
    """The response is complete, and part of it waits for the client to take it."""
    BODY_LEFT = auto()
    """The response is written, and the rest of the request's body is worth reading."""
    FINISHED = auto()
    """Response and request are over, and the connection lives on."""
    LAST_SAID = auto()
    """Nothing more will be written."""
    GIVEN = auto()
    """The socket is another process's."""
    ENDED = auto()
    """The socket is closed, for any reason."""

    __hash__ = object.__hash__


class Reading(Enum):
    """What is done with bytes that have arrived."""

    PREFACE = auto()
    HEAD = auto()
    AHEAD = auto()
    """They are part of the body of the request that waits or runs, or of later requests."""
    BODY = auto()
    DISCARD = auto()
    """They are counted and dropped, up to DISCARD_LIMIT."""
    DROP = auto()


class EndOfInput(Enum):
    """What the end of the client's side means."""

    PREFACE = auto()
    GONE = auto()
    """There is nothing to answer."""
    HALF_CLOSED = auto()
    """The response may still be read: the host decides."""
    UNKNOWN = auto()
    """It is found again when the connection is read again, if ever."""
    DONE = auto()
    """The end that was waited for."""


class Lateness(Enum):
    """What is done when the deadline of a state is over."""

    PREFACE = auto()
    CLOSE_IDLE = auto()
    REFUSE_HEAD = auto()
    ASK_HOST = auto()
    REFUSE_BODY = auto()
    END_CALL = auto()
    """A stream that was to end is cut; a body that the application waits for is refused; else there is no deadline."""
    CLOSE_UNREAD = auto()
    CLOSE_DONE = auto()
    NEVER = auto()


class Row(NamedTuple):
    """One state."""

    read: Reading
    end: EndOfInput
    late: Lateness
    deadlines: tuple[str, ...]
    """What limits it: options, and constants of `hsrv.http`. The client's taking what is written is limited everywhere:
    --send-timeout."""
    moves: dict[Event, State]


S, E = State, Event

_ANY: Final[dict[Event, State]] = {E.LAST_SAID: S.LINGERING, E.ENDED: S.CLOSED}
"""What may happen to a connection that is not over yet."""

_SERVE: Final[dict[Event, State]] = {E.BODY_AWAITED: S.BODY, E.CALLED: S.RUNNING, E.GIVEN: S.HANDED_OFF}
"""What may happen to a request once its head is complete."""

_HEAD: Final[dict[Event, State]] = {**_SERVE, E.HELD: S.WAITING}

_KEPT: Final[dict[Event, State]] = {E.RESPONSE_KEPT: S.WRITING}
"""Of pipelined requests: the responses were to leave together, and turn out to be too much for the client."""

_RESPONDED: Final[dict[Event, State]] = {E.FINISHED: S.IDLE, E.BODY_LEFT: S.DISCARDING}

ROWS: Final[dict[State, Row]] = {
    S.PREFACE: Row(
        Reading.PREFACE,
        EndOfInput.PREFACE,
        Lateness.PREFACE,
        ("header_timeout",),
        {E.IDENTIFIED: S.IDLE, E.GIVEN: S.HANDED_OFF, **_ANY},
    ),
    S.IDLE: Row(
        Reading.HEAD,
        EndOfInput.GONE,
        Lateness.CLOSE_IDLE,
        ("keep_alive", "header_timeout"),
        {E.HEAD_BEGUN: S.READING, **_HEAD, **_KEPT, **_ANY},
    ),
    S.READING: Row(
        Reading.HEAD, EndOfInput.GONE, Lateness.REFUSE_HEAD, ("header_timeout",), {**_HEAD, **_KEPT, **_ANY}
    ),
    S.WAITING: Row(
        Reading.AHEAD,
        EndOfInput.UNKNOWN,
        Lateness.ASK_HOST,
        ("queue_timeout", "handoff_timeout"),
        {**_SERVE, **_ANY},
    ),
    S.BODY: Row(
        Reading.BODY,
        EndOfInput.GONE,
        Lateness.REFUSE_BODY,
        ("body_timeout", "BODY_MOMENT"),
        {E.CALLED: S.RUNNING, **_ANY},
    ),
    S.RUNNING: Row(
        Reading.AHEAD,
        EndOfInput.HALF_CLOSED,
        Lateness.END_CALL,
        ("body_timeout", "END_TIMEOUT"),
        {E.RESPONSE_KEPT: S.WRITING, **_RESPONDED, **_ANY},
    ),
    S.WRITING: Row(Reading.AHEAD, EndOfInput.UNKNOWN, Lateness.NEVER, (), {**_RESPONDED, **_ANY}),
    S.DISCARDING: Row(
        Reading.DISCARD,
        EndOfInput.GONE,
        Lateness.CLOSE_UNREAD,
        ("body_timeout",),
        {E.FINISHED: S.IDLE, **_ANY},
    ),
    S.LINGERING: Row(
        Reading.DROP, EndOfInput.DONE, Lateness.CLOSE_DONE, ("LINGER_TIMEOUT",), {E.ENDED: S.CLOSED}
    ),
    S.CLOSED: Row(Reading.DROP, EndOfInput.UNKNOWN, Lateness.NEVER, (), {}),
    S.HANDED_OFF: Row(Reading.DROP, EndOfInput.UNKNOWN, Lateness.NEVER, (), {}),
}

MOVES: Final[Table[State, Event]] = {state: row.moves for state, row in ROWS.items()}

GIVEABLE: Final = (State.IDLE, State.READING, State.PREFACE)
"""States in which the connection, with what was read, means the same in another process."""

OVER: Final = (State.CLOSED, State.HANDED_OFF)
