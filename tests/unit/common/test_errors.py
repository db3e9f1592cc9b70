"""Each error of hsrv has the exit code that the documentation states."""

import pytest

from hsrv.common import errors
from hsrv.common.errors import AppLoadError, ClientDisconnected, ClientError, ExitCode, HsrvError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError, 2),
        (errors.AppLoadError, 3),
        (errors.BindError, 4),
        (errors.PlatformError, 6),
        (errors.NoServerError, 7),
        (errors.OperatorError, 1),
        (errors.AppError, 1),
    ],
)
def test_an_error_has_its_exit_code(error: type[HsrvError], code: int) -> None:
    assert error.exit_code == code
    assert issubclass(error, HsrvError)


def test_the_exit_codes_are_those_of_the_readme() -> None:
    assert [(code.name, int(code)) for code in ExitCode] == [
        ("OK", 0),
        ("INTERNAL", 1),
        ("USAGE", 2),
        ("APP", 3),
        ("BIND", 4),
        ("FORCED", 5),
        ("PLATFORM", 6),
        ("NO_SERVER", 7),
    ]


def test_an_application_can_catch_a_disconnect_as_an_oserror() -> None:
    assert issubclass(ClientDisconnected, OSError)
    assert not issubclass(ClientDisconnected, HsrvError), "it is not an error of hsrv"


def test_an_error_carries_what_its_report_needs() -> None:
    assert AppLoadError("no app", "Traceback ...").traceback == "Traceback ..."
    assert AppLoadError("no app").traceback == ""
    refused = ClientError(426, "too old", [(b"sec-websocket-version", b"13")])
    assert (refused.status, str(refused), refused.headers) == (
        426,
        "too old",
        [(b"sec-websocket-version", b"13")],
    )
