"""Exceptions, by who caused the error, and the exit codes of the command line. Pure.

    HsrvError
    ├── ConfigError        operator: an invalid option, file or variable               exit 2
    ├── AppLoadError       application: can't be found, imported or started            exit 3
    ├── BindError          operator or system: an address can't be bound               exit 4
    ├── PlatformError      the operating system is not supported                       exit 6
    ├── OperatorError      a command to a running server failed                        exit 1
    ├── NoServerError      a running server was not found or not reached               exit 7
    ├── ClientError        client: carries the status of the response
    ├── AppError           the application violated the ASGI protocol
    └── ChannelError       a packet could not be sent (see hsrv.ipc.channel)

    ClientDisconnected     OSError: raised by the application's send() once the client has disconnected

Each is translated in one place: ClientError to bytes (hsrv.http.connection), HsrvError to an exit code (hsrv.starting),
any error of a peer to JSON-RPC (hsrv.rpc).
"""

from collections.abc import Sequence
from enum import IntEnum, unique


@unique
class ExitCode(IntEnum):
    """What `hsrv start` exits with. Documented in the README."""

    OK = 0
    """Stopped on request; everything ended within its budget."""
    INTERNAL = 1
    """An internal error of hsrv (the traceback is printed), or a command to a running server failed."""
    USAGE = 2
    """Invalid option, configuration file or environment variable."""
    APP = 3
    """The application could not be loaded or started."""
    BIND = 4
    """An address could not be bound."""
    FORCED = 5
    """Stopped on request, but processes had to be killed after their budget."""
    PLATFORM = 6
    """The operating system is not supported."""
    NO_SERVER = 7
    """No running server was found, more than one was found, or it refused access or did not answer."""


class HsrvError(Exception):
    """Base of the errors hsrv raises on purpose. `str(error)` is the message for people."""

    exit_code: ExitCode = ExitCode.INTERNAL


class ConfigError(HsrvError):
    """An option is invalid. The message names option, value, where it was set and what is allowed."""

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
    """A running server failed to do what an operator requested."""


class NoServerError(HsrvError):
    """A running server was not found, or not reached."""

    exit_code = ExitCode.NO_SERVER


class ClientError(HsrvError):
    """The client sent something that can't be served: it gets a response with `status`, then the connection closes.

    `headers`: fields that the response must carry, like Sec-WebSocket-Version with 426.
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers


class AppError(HsrvError):
    """The application violated the ASGI protocol."""


class ClientDisconnected(ConnectionError):
    """The client has disconnected. Raised by the application's `send()` (ASGI HTTP spec 2.4, "Disconnected client")."""
