"""Opens the admin address. Separate from what answers there (`site.py`), which most servers never import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsrv.common.errors import BindError, ConfigError
from hsrv.options.config import Config
from hsrv.supervisor.sockets.inheritance import Inheritance
from hsrv.supervisor.sockets.listeners import Listener, open_listeners

MAX_CONNECTIONS: Final = 64
"""At a time. A further one replaces the one that has been without a complete request for longest. If all are being
answered, a few more are accepted for requests that are complete at once (`MAX_AT_ONCE`); others are refused."""

_FILE: Final = "file:"


@dataclass(frozen=True, slots=True)
class AdminAddress:
    """Where to listen, and the token. Without a listener it is off."""

    listeners: tuple[Listener, ...] = ()
    token: str = ""
    """"" for none."""

    @property
    def urls(self) -> list[str]:
        return [listener.info.url for listener in self.listeners]


NO_ADMIN: Final = AdminAddress()


def open_admin(
    config: Config, *, owner: tuple[int, int] | None = None, inherited: Inheritance | None = None
) -> AdminAddress:
    """Open --admin, before privileges are dropped. Raises BindError and ConfigError. `owner`: of a socket file, if not
    this user. `inherited`: sockets that are open already."""
    if config.admin is None:
        return NO_ADMIN
    token = read_token(config.admin_token)
    try:
        listeners = open_listeners(
            (config.admin,),
            backlog=MAX_CONNECTIONS,
            unix_mode=int(config.unix_mode, 8),
            owner=owner,
            inherited=inherited,
            kind="admin",
        )
    except BindError as error:
        raise BindError(str(error).replace("--bind", "--admin", 1)) from error
    return AdminAddress(tuple(listeners), token)


def read_token(text: str | None) -> str:
    """The token of --admin-token: the value, or the content of file:PATH. Raises ConfigError."""
    if text is None or not text.startswith(_FILE):
        return text or ""
    path = text.removeprefix(_FILE)
    try:
        token = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"admin_token file:{path}: can't be read: {error}") from error
    if not token:
        raise ConfigError(f"admin_token file:{path}: it is empty")
    return token
