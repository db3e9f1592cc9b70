"""Output at the start, when the server serves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hsrv.common.terms import Role
from hsrv.common.version import __version__
from hsrv.common.visible import visible, visible_block
from hsrv.ipc.messages import TemplateReady
from hsrv.logs.logging import get_logger, write_text
from hsrv.logs.targets import target_of, wants_colors, wants_json
from hsrv.options.config import Config
from hsrv.supervisor.sockets.listeners import Listener

log = get_logger("hsrv.supervisor")


class Banner:
    """Says once what was found and decided, and where the server listens."""

    def __init__(
        self,
        config: Config,
        *,
        workers_why: str,
        app_found: str,
        operator: str = "",
        admin: tuple[str, ...] = (),
    ) -> None:
        """`operator`: the path of the operator socket, "" when there is none; `admin`: URLs of the admin address."""
        self._config = config
        self._workers_why = workers_why
        self._app_found = app_found
        self._operator = operator
        self._admin = admin
        self._interfaces: dict[Role, str] = {}
        self._template: TemplateReady | None = None
        self._shown = False

    def template_ready(self, message: TemplateReady) -> None:
        self._template = message

    def process_ready(self, role: Role, interface: str) -> None:
        """`interface`: how processes of this role call their application."""
        self._interfaces[role] = interface

    def serving(
        self,
        listeners: Sequence[Listener],
        generation: int,
        *,
        broken: bool = False,
        saved: Mapping[str, object] | None = None,
    ) -> None:
        """All processes of a generation serve. `broken`: it serves only the error page; `saved`: which files led to
        it, and how long it took."""
        urls = [listener.info.url for listener in listeners]
        if self._shown:
            log.info("error page shown" if broken else "reloaded", generation=generation, **saved or {})
            return
        self._shown = True
        template = self._template
        preload = f"{template.preload} ({template.detail})" if template is not None else ""
        if self._config.log_format == "short":
            self._print_short(urls, template.app if template is not None else "")
        elif wants_json(self._config, target_of(self._config)):
            log.info(
                "listening",
                urls=urls,
                workers=self._config.workers,
                pools=self._config.pools,
                preload=preload,
                app=template.app if template is not None else "",
                interface=self._interfaces.get(Role.WORKER, ""),
                pool_app=self._config.pool_app,
                version=__version__,
                operator=self._operator,
                admin=list(self._admin),
            )
        else:
            self._print(urls, preload, template.app if template is not None else "")

    def failed(self, error: object, exception: object = "") -> None:
        """The application could not be started, and the server ends. JSON that nobody asked for is hard to read where
        people look first: so the traceback comes as lines, too."""
        if self._config.log_format == "auto" and wants_json(self._config, target_of(self._config)):
            lines = [visible_block(str(exception))] if exception else []
            write_text("\n".join([*lines, f"hsrv: {visible(str(error))}"]))

    def _print_short(self, urls: list[str], app: str) -> None:
        bold, plain = ("\033[1m", "\033[0m") if wants_colors(target_of(self._config)) else ("", "")
        where = "  ".join(visible(url) for url in urls)
        folder = Path(self._config.app_dir).absolute()
        write_text(
            f"hsrv {__version__}  {bold}{where}{plain}  {visible(app)}".rstrip()
            + f"\nwatching {visible(str(folder))} and what it imports; Ctrl-C stops"
        )

    def _print(self, urls: list[str], preload: str, app: str) -> None:
        bold, plain = ("\033[1m", "\033[0m") if wants_colors(target_of(self._config)) else ("", "")
        pools = "1 async pool" if self._config.pools == 1 else f"{self._config.pools} async pools"
        pool_app = self._config.pool_app
        workers = "1 worker" if self._config.workers == 1 else f"{self._config.workers} workers"
        lines = [
            f"{bold}hsrv {__version__}{plain}",
            *(f"  {bold}{visible(url)}{plain}" for url in urls),
            f"  app      {visible(app)}{self._notes(Role.WORKER, self._app_found)}",
            *([f"  pool app {visible(pool_app)}{self._notes(Role.POOL)}"] if pool_app else []),
            f"  serving  {workers}{f' ({self._workers_why})' if self._workers_why else ''}, {pools}",
            f"  preload  {visible(preload)}",
            *(
                [f"  operator {visible(self._operator)} (hsrv status, reload, scale, stop ...)"]
                if self._operator
                else []
            ),
            *(f"  admin    {visible(url)}" for url in self._admin),
            "  stop with Ctrl-C",
        ]
        write_text("\n".join(lines))

    def _notes(self, role: Role, *others: str) -> str:
        """How it is called, and what else there is to say, in parentheses."""
        notes = [note for note in (self._interfaces.get(role, "").upper(), *others) if note]
        return f" ({', '.join(notes)})" if notes else ""
