"""Errors by whose fault they are, and the exit codes of the command line. Pure.

    HsrvError
    ├── ConfigError        the operator's: an option, file or variable is wrong        exit 2
    ├── AppLoadError       the application's: it can't be found, imported or started   exit 3
    ├── BindError          the operator's or the system's: an address can't be bound   exit 4
    ├── PlatformError      this system lacks what hsrv is made of                      exit 6
    ├── OperatorError      what was asked of a running server failed                   exit 1
    ├── NoServerError      a running server was not found or not reached               exit 7
    ├── ClientError        the client's: carries the status of the answer
    ├── AppError           the application broke the ASGI protocol
    └── ChannelError       a packet could not be passed (see hsrv.ipc.channel)

    ClientDisconnected     OSError: what the application's send() raises once the client is gone

Each edge has one translator: ClientError to bytes (hsrv.http.connection), HsrvError to an exit code
(hsrv.cli), any error of a peer to JSON-RPC (hsrv.rpc).
"""

from collections.abc import Sequence
from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """What `hsrv start` exits with. Documented in the README."""

    OK = 0
    """Stopped on request; everything ended within its budget."""
    INTERNAL = 1
    """A fault of hsrv itself (the traceback is printed), or what a command asked a running server for failed."""
    USAGE = 2
    """Wrong option, configuration file or environment variable."""
    APP = 3
    """The application could not be loaded or started."""
    BIND = 4
    """An address could not be bound."""
    FORCED = 5
    """Stopped on request, but processes had to be killed after their budget."""
    PLATFORM = 6
    """The operating system is not supported."""
    NO_SERVER = 7
    """No running server was found, several were, or it denied or did not answer."""


class HsrvError(Exception):
    """Base of the errors hsrv raises on purpose. `str(error)` is the message for people."""

    exit_code: ExitCode = ExitCode.INTERNAL


class ConfigError(HsrvError):
    """An option is wrong. The message names option, value, where it was set and what is allowed."""

    exit_code = ExitCode.USAGE


class AppLoadError(HsrvError):
    """The application can't be found, imported or started.

    `traceback` is the application's own part of it, or "" when there is none to show.
    """

    exit_code = ExitCode.APP

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class BindError(HsrvError):
    """An address can't be bound."""

    exit_code = ExitCode.BIND


class PlatformError(HsrvError):
    """The operating system is not supported."""

    exit_code = ExitCode.PLATFORM


class OperatorError(HsrvError):
    """What an operator asked a running server for was tried and failed."""


class NoServerError(HsrvError):
    """A running server was not found, or not reached."""

    exit_code = ExitCode.NO_SERVER


class ClientError(HsrvError):
    """The client sent what can't be served: `status` is the answer, after which the connection closes.

    `headers`: fields that the answer must carry, like Sec-WebSocket-Version with 426.
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


class AppError(HsrvError):
    """The application broke the ASGI protocol."""


class ClientDisconnected(ConnectionError):
    """The client is gone. Raised by the application's `send()` (ASGI HTTP spec 2.4, "Disconnected client")."""
