"""The imports of a template before it forks, and the state that each child must then renew.

Promise: an import that leaves something which a fork would share unsafely is reported instead of forked.
"""

import random
from dataclasses import dataclass, field

from hsrv.app.apploader import LoadedApp, load_app
from hsrv.app.apptarget import of_pool, resolve_target
from hsrv.app.forkobjects import generators_to_reseed
from hsrv.app.forksafety import Before, before_import, files_for_reading, unsafe_to_fork
from hsrv.app.preload import import_libraries
from hsrv.common.errors import AppLoadError
from hsrv.common.terms import Preload
from hsrv.ipc.messages import PreloadUnsafe, TemplateFailed, TemplateReady
from hsrv.options.config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Preloaded:
    """What the children of a template inherit."""

    app: LoadedApp | None = None
    """None: each child imports it."""
    pool_app: LoadedApp | None = None
    """The pool's: another one with `--pool-app`."""
    generators: list[random.Random] = field(default_factory=list)
    """Random generators of libraries; each child reseeds them."""
    files_for_reading: list[int] = field(default_factory=list)
    """Each child opens them again, for its own position."""


Reply = TemplateReady | TemplateFailed | PreloadUnsafe


def preload(config: Config, policy: Preload) -> tuple[Reply, Preloaded]:
    """Import according to the policy. Returns the reply for the supervisor, and what was imported."""
    try:
        target = resolve_target(config).import_string
        if policy is Preload.NONE:
            detail = "each process imports the application itself"
            return TemplateReady(preload=policy, detail=detail, app=target), Preloaded()
        if policy is Preload.LIBRARIES:
            return _import_libraries(config, target)
        return _import_app(config, policy)
    except AppLoadError as error:
        if config.reload:  # the children fail too, and their error is shown in the browser
            reply = TemplateReady(preload=Preload.NONE, detail="nothing", app=config.app or "")
            return reply, Preloaded()
        return TemplateFailed(message=str(error), traceback=error.traceback), Preloaded()


def _import_app(config: Config, policy: Preload) -> tuple[Reply, Preloaded]:
    before = before_import()
    app = load_app(config)
    pool_app = app if config.pool_app is None else load_app(of_pool(config))
    reason = unsafe_to_fork(before)
    if reason is not None and policy is Preload.AUTO:
        return PreloadUnsafe(reason=reason), Preloaded()
    detail = "application" if reason is None else f"application, although {reason}"
    return TemplateReady(preload=Preload.APP, detail=detail, app=app.import_string), _found(
        before, app, pool_app
    )


def _import_libraries(config: Config, target: str) -> tuple[Reply, Preloaded]:
    before = before_import()
    targets = {target, resolve_target(of_pool(config)).import_string}
    count = sum(import_libraries(one, config.app_dir) for one in sorted(targets))
    reason = unsafe_to_fork(before, "the libraries")
    if reason is not None:
        return PreloadUnsafe(reason=reason), Preloaded()
    reply = TemplateReady(preload=Preload.LIBRARIES, detail=f"{count} modules", app=target)
    return reply, _found(before)


def _found(before: Before, app: LoadedApp | None = None, pool_app: LoadedApp | None = None) -> Preloaded:
    return Preloaded(
        app=app,
        pool_app=pool_app,
        generators=generators_to_reseed(),
        files_for_reading=files_for_reading(before),
    )
