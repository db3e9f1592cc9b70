"""The table of the admin address, and how the address is opened."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsrv.bindspec import TcpBind, parse_bind
from hsrv.config import Config
from hsrv.errors import BindError, ConfigError
from hsrv.supervisor.admin.guard import Guard
from hsrv.supervisor.admin.probes import Probes
from hsrv.supervisor.admin.route import Request, Response, Route, json_response
from hsrv.supervisor.admin.server import MAX_CONNECTIONS, AdminServer
from hsrv.supervisor.listeners import Listener, open_listeners

if TYPE_CHECKING:
    from hsrv.supervisor.supervisor import Supervisor

_FILE: Final = "file:"


@dataclass(frozen=True, slots=True)
class AdminAddress:
    """Where to listen, and for whom. Without a listener it is off."""

    listeners: tuple[Listener, ...] = ()
    token: str = ""
    """"" for none."""

    @property
    def urls(self) -> list[str]:
        return [listener.info.url for listener in self.listeners]


NO_ADMIN: Final = AdminAddress()


def open_admin(config: Config, *, owner: tuple[int, int] | None = None) -> AdminAddress:
    """What --admin says, while we may still bind and read everything. Raises BindError and ConfigError. `owner`: of a
    socket file, if not ours."""
    if config.admin is None:
        return NO_ADMIN
    token = read_token(config.admin_token)
    try:
        listeners = open_listeners(
            (config.admin,), backlog=MAX_CONNECTIONS, unix_mode=int(config.unix_mode, 8), owner=owner
        )
    except BindError as error:
        raise BindError(str(error).replace("--bind", "--admin", 1)) from error
    return AdminAddress(tuple(listeners), token)


def read_token(text: str | None) -> str:
    """What --admin-token says: the token, or file:PATH. Raises ConfigError."""
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


def make_server(supervisor: "Supervisor", address: AdminAddress) -> AdminServer:
    """Of one supervisor."""
    config = supervisor.config
    guard = Guard(token=address.token, names=list(_names(config)), writable=config.admin_write)
    return AdminServer(address.listeners, routes(supervisor), guard)


def _names(config: Config) -> Iterator[str]:
    yield from config.admin_host
    bind = parse_bind(config.admin or "")
    if isinstance(bind, TcpBind):
        yield bind.host


def routes(supervisor: "Supervisor") -> dict[str, Route]:
    """Every path."""
    probes = Probes(supervisor.plan)

    async def status(request: Request) -> Response:
        return json_response(await supervisor.status.read())

    return {
        "/livez": Route(probes.livez, public=True),
        "/readyz": Route(probes.readyz, public=True),
        "/startupz": Route(probes.startupz, public=True),
        "/status.json": Route(status),
    }
