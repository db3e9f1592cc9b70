"""The supervisor process: from a configuration to an exit code."""

import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import anyio
import msgspec
from setproctitle import setproctitle

from hsrv.app.apptarget import resolve_target
from hsrv.common.errors import BindError, ConfigError, ExitCode, HsrvError
from hsrv.logs import logging
from hsrv.logs.logfiles import prepare
from hsrv.logs.targets import DASH
from hsrv.options.config import Config
from hsrv.supervisor.admin.http.address import NO_ADMIN, open_admin
from hsrv.supervisor.observed import Observer, collectors_of
from hsrv.supervisor.operators.operator import OperatorSocket
from hsrv.supervisor.reports.banner import Banner
from hsrv.supervisor.runtime.launch import Launch
from hsrv.supervisor.runtime.threads import deaf_threads
from hsrv.supervisor.sockets.addresses import Addresses
from hsrv.supervisor.sockets.inheritance import Inheritance
from hsrv.supervisor.sockets.listeners import close_listeners, lent, open_listeners
from hsrv.supervisor.supervisor import Start, Supervisor
from hsrv.supervisor.upgrade.keeper import keep
from hsrv.supervisor.upgrade.takeover import Takeover, takeover_from
from hsrv.supervisor.upgrade.upgradestate import ManagerDuties
from hsrv.system import blockedsignals, privileges, rundir
from hsrv.system.cpus import resolve_workers
from hsrv.system.platform import become_subreaper, check_supported
from hsrv.system.sdnotify import KEPT, Manager, ManagerEnvironment

log = logging.get_logger("hsrv.supervisor")


def run(
    config: Config,
    sources: Mapping[str, str] | None = None,
    reread: Callable[[], Config] | None = None,
    set_by_us: Collection[str] = (),
) -> ExitCode:
    """Serve until told to stop. Before anything runs, raises BindError, AppLoadError (nothing found), ConfigError
    (--user, --group) and PlatformError. `reread`: reads the configuration again, for a reload; raises HsrvError.
    `set_by_us`: the names of the variables that came from --env-file; a reload may change it."""
    check_supported()
    # The parent may have blocked some, and every process would inherit that. Those that we block ourselves are handled
    # later.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals() - blockedsignals.BLOCKED)
    launch = Launch.here(set_by_us)
    manager_environment = ManagerEnvironment.take(os.environ, os.getpid())
    before = takeover_from(os.environ)
    try:
        return _run(config, reread, launch, manager_environment, before)
    except HsrvError as error:
        if before is not None:
            before.refuse(str(error), getattr(error, "traceback", ""))
        raise


def _run(
    config: Config,
    reread: Callable[[], Config] | None,
    launch: Launch,
    manager_environment: ManagerEnvironment,
    before: Takeover | None,
) -> ExitCode:
    account = privileges.resolve(config.user, config.group)
    config, why = _with_workers(config)
    target = resolve_target(config)
    _open_logs(config, account)
    inherited = Inheritance(manager_environment.sockets) if before is None else before.inheritance
    config = _with_binds(config, inherited)
    if inherited.replaced:
        log.info("sockets of the service manager instead of --bind", names=list(inherited.replaced))
    listeners = open_listeners(
        config.bind,
        backlog=config.backlog,
        unix_mode=int(config.unix_mode, 8),
        owner=(account.uid, account.gid) if account is not None else None,
        inherited=inherited,
    )
    operator_socket: OperatorSocket | None = None
    admin = NO_ADMIN
    try:
        owner = (account.uid, account.gid) if account is not None else None
        admin = open_admin(config, owner=owner, inherited=inherited)
        if admin.listeners:
            log.info("admin address", urls=admin.urls)
        if unwanted := inherited.close_rest():
            log.warning("sockets closed", why="no --bind names them", names=unwanted)
        if manager_environment.store:  # the next start uses them: they don't end with this process
            listeners = [lent(listener) for listener in listeners]
            admin = replace(admin, listeners=tuple(lent(listener) for listener in admin.listeners))
        if account is not None:
            step_down(account, config.run_dir)
        if config.umask is not None:
            os.umask(int(config.umask, 8))
        operator_socket = (
            before.operator_socket
            if before is not None and before.operator_socket is not None
            else open_operator_socket(config.run_dir)
        )
        setproctitle("hsrv: supervisor")
        become_subreaper()
        with deaf_threads():
            collectors = collectors_of(config)
        banner = Banner(
            config,
            workers_why=why,
            app_found=target.how_found,
            operator=str(operator_socket.path) if operator_socket is not None else "",
            admin=tuple(admin.urls),
        )
        start = Start(
            addresses=Addresses(
                listeners,
                list(admin.listeners),
                lambda: operator_socket.info if operator_socket is not None else None,
                inherited.replaced,
            ),
            banner=banner,
            operator_socket=operator_socket,
            reread=None if reread is None else lambda: _with_binds(_with_workers(reread())[0], inherited),
            launch=launch,
            duties=_duties(manager_environment, unwanted),
            takeover=before,
            admin=admin,
            observer=Observer(collectors) if collectors is not None else None,
        )
        supervisor = Supervisor(config, start)
        code = _serve(supervisor, start.observer)
    finally:
        close_listeners([*listeners, *admin.listeners])
        if operator_socket is not None:
            operator_socket.close()
        logging.tell_lost()
    return code if supervisor.replacement is None else keep(supervisor.replacement, supervisor.terminal)


def _open_logs(config: Config, account: privileges.Account | None) -> None:
    """Their files must be writable, and are the user's who writes them. Raises ConfigError."""
    owner = (account.uid, account.gid) if account is not None else None
    for name in ("log_file", "access_log_file"):
        path = getattr(config, name)
        if path not in (None, DASH):
            try:
                prepare(path, owner)
            except OSError as error:
                raise ConfigError(f"{name} {path}: can't be opened: {error.strerror or error}") from error
    logging.setup(config, None)


def _serve(supervisor: Supervisor, observer: Observer | None) -> ExitCode:
    if blockedsignals.stop_is_pending():  # the signal came during the imports and binds
        log.info("stopping", why="told to stop before anything was started")
        return ExitCode.OK
    try:
        return anyio.run(supervisor.run)
    finally:
        if observer is not None:
            observer.close()


def _duties(manager_environment: ManagerEnvironment, unwanted: Sequence[str]) -> ManagerDuties:
    """Towards the service manager; it is told to drop the descriptors that no option names."""
    manager = Manager(manager_environment.notify)
    for name in unwanted:
        if name.startswith(KEPT):
            manager.forget(name)
    manager.close()
    return ManagerDuties(
        notify=manager_environment.notify,
        watchdog=manager_environment.watchdog,
        store=manager_environment.store,
    )


def _with_binds(config: Config, inherited: Inheritance) -> Config:
    """With the addresses that the server really listens on."""
    return msgspec.structs.replace(config, bind=inherited.binds(config.bind))


def _with_workers(config: Config) -> tuple[Config, str]:
    """With the number of workers, and the reason for it."""
    workers, why = resolve_workers(config)
    return msgspec.structs.replace(config, workers=workers), why


def step_down(account: privileges.Account, run_dir: str | None) -> None:
    """Switch to --user. Everything that needs root has been done; the operator socket belongs to the new user from the
    start, in a directory that root creates for it."""
    if account.uid != os.geteuid():
        rundir.make_for(run_dir, account.uid, account.gid)
    privileges.become(account)
    log.info("privileges dropped", uid=account.uid, gid=account.gid, groups=list(account.groups))


def open_operator_socket(run_dir: str | None) -> OperatorSocket | None:
    """Open the operator socket. With --run-dir it must succeed; if the default directory can't be used, the server runs
    without."""
    try:
        return OperatorSocket(run_dir)
    except BindError as error:
        if run_dir is not None:
            raise
        log.warning("no operator socket", error=str(error), hint="name a directory with --run-dir")
        return None
