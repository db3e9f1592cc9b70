"""The command line. Options come from `hsrv.options.config`; errors become one message and an exit code here.

A plain `hsrv start` doesn't come here: `hsrv.__main__` reads its options itself (`hsrv.options.arguments`).
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from hsrv import starting
from hsrv.common.errors import ConfigError, ExitCode, HsrvError
from hsrv.common.version import __version__
from hsrv.common.visible import visible
from hsrv.operate.arguments import time_from
from hsrv.options.arguments import lead_on
from hsrv.options.config import Config, OptionInfo, options
from hsrv.options.units import size_text
from hsrv.sources.environment import FileEnvironment
from hsrv.sources.layers import Sources
from hsrv.sources.otherflags import take
from hsrv.sources.sources import HIDDEN, choices, load_config
from hsrv.system import blockedsignals
from hsrv.system.native import is_compiled
from hsrv.system.platform import check_supported, is_supported

_EXIT_CODES = """
**Every option**: `hsrv start --help-all`, or docs/options.md.

**Exit codes**: 0 stopped on request, or done · 1 internal error, or the command failed ·
2 invalid option or configuration · 3 the application could not be loaded or started · 4 an address could not be bound ·
5 stopped, but processes had to be killed · 6 unsupported system · 7 no running server found or reached
"""


_OTHERS: Final = "hsrv.others"
"""Key of the options of other servers, in the context of a command."""


Adjust = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes the options that were given, by the values of a command's own parameters."""


def _before(context: typer.Context) -> None:
    """Signals are blocked until the command is known (`hsrv.__main__`): only a server handles them itself."""
    if context.invoked_subcommand not in ("start", "dev"):
        blockedsignals.unblock()


_UsageError: Final[Any] = typer.BadParameter.__base__
"""What a command line is refused with; typer has no public name for it."""


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Errors of a command line become ours: lines, not a box that is as wide as a terminal."""
    try:
        yield
    except _UsageError as error:
        if "NoArgs" in type(error).__name__:  # its message is the help
            raise
        path = error.ctx.command_path if error.ctx is not None else "hsrv"
        raise ConfigError(f"{error.format_message()}\nsee {path} --help") from None


class _Group(TyperGroup):
    """All commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _usage_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _usage_errors():
            return super().invoke(ctx)


def _cli_type(option: OptionInfo) -> Any:
    """The type that typer converts to. Checks and conversions are hsrv's own, so that all sources have the same."""
    if isinstance(option.default, bool):
        return bool | None
    if option.is_list:
        return list[str] | None
    return str | None


def _metavar(option: OptionInfo) -> str | None:
    if option.opt.metavar is not None or isinstance(option.default, bool):
        return option.opt.metavar
    return "|".join(choices(option)) or ("TIME" if option.is_time else None)


def _help(option: OptionInfo) -> str:
    """With the default, which typer would put on a separate line."""
    default = option.default
    if default in (None, (), ""):
        return option.opt.help
    if isinstance(default, bool):
        shown = "on" if default else "off"
    elif option.is_size:
        shown = size_text(default)
    elif isinstance(default, float):
        shown = f"{default:g}s" if option.is_time else f"{default:g}"
    else:
        shown = " ".join(default) if option.is_list else str(default)
    return f"{option.opt.help} [default: {shown}]"


def _parameter(option: OptionInfo) -> inspect.Parameter:
    flags = [option.flag]
    if isinstance(option.default, bool):
        flags = [f"{option.flag}/--no-{option.flag[2:]}"]
    if option.opt.short is not None:
        flags.append(option.opt.short)
    words = choices(option)
    info = typer.Option(
        *flags,
        help=_help(option),
        rich_help_panel=option.opt.panel,
        metavar=_metavar(option),
        show_default=False,
        autocompletion=(lambda: words) if words else None,
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(
        option.name, keyword, default=None, annotation=Annotated[_cli_type(option), info]
    )


@cache
def _parameters() -> tuple[inspect.Parameter, ...]:
    """One for each option: the same for every command."""
    return tuple(_parameter(option) for option in options() if option.name != "app")


def _as_given(values: dict[str, Any], extra: dict[str, Any]) -> None:
    """Nothing to adjust."""


def _with_options(
    command: Callable[..., None], *own: inspect.Parameter, adjust: Adjust
) -> Callable[..., None]:
    """A typer command that takes every option of `Config` and calls `command` with the configuration, the source of
    each value, and the values of its `own` parameters. A parameter `reread` gets a function that reads the
    configuration again (`starting.Reread`), a parameter `config_file` the file given with --config. `adjust` may set
    options that were not given."""
    wanted = inspect.signature(command).parameters

    def run(
        *, context: typer.Context, application: str | None, config: str | None, help_all: bool, **given: Any
    ) -> None:
        extra = {parameter.name: given.pop(parameter.name) for parameter in own}
        values = {name: value for name, value in given.items() if value not in (None, [])}
        values |= context.meta[_OTHERS]
        if application is not None:
            values["app"] = application
        adjust(values, extra)
        read = partial(load_config, values, config_file=config)
        if "reread" in wanted:
            extra["reread"] = lambda but: read(but=but)[0]
        if "config_file" in wanted:
            extra["config_file"] = config
        command(*read(), **extra)

    application = Annotated[
        str | None,
        typer.Argument(
            help="module:attribute or module:factory(); default: the configured one, or the first found",
            metavar="APP",
        ),
    ]
    config = Annotated[
        str | None,
        typer.Option(
            "--config", "-c", help="configuration file instead of hsrv.toml or pyproject.toml", metavar="FILE"
        ),
    ]
    help_all = Annotated[
        bool,
        typer.Option("--help-all", help="show every option and exit", callback=_print_help, is_eager=True),
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        inspect.Parameter("application", keyword, default=None, annotation=application),
        inspect.Parameter("config", keyword, default=None, annotation=config),
        inspect.Parameter("help_all", keyword, default=False, annotation=help_all),
        *own,
        *_parameters(),
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run


class _Command(TyperCommand):
    """`--help` shows the most common options, in a few groups; `--help-all` shows all, in their own groups. Options of
    other servers are accepted, and shown by neither."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {flag for parameter in self.params for flag in parameter.opts}
        args, ctx.meta[_OTHERS] = take(args, own)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        everything = ctx.params.get("help_all", False)
        known = {option.name: option.opt for option in options()}
        for parameter in self.params:
            opt = known.get(parameter.name or "")
            if isinstance(parameter, TyperOption) and opt is not None:
                parameter.hidden = not everything and opt.common is None
                parameter.rich_help_panel = opt.panel if everything else opt.common
        super().format_help(ctx, formatter)


def _print_help(ctx: typer.Context, asked: bool) -> None:
    if asked:
        ctx.params["help_all"] = True
        typer.echo(ctx.get_help(), color=ctx.color)
        raise typer.Exit


def start(config: Config, sources: Sources, *, reread: starting.Reread) -> None:
    """Serve an application in the foreground."""
    raise typer.Exit(starting.serve(config, sources, reread))


def dev(config: Config, sources: Sources, *, reread: starting.Reread, verbose: bool) -> None:
    """Serve an application while you write it: on this machine only, reloaded at each save, with short lines."""
    raise typer.Exit(starting.serve(config, sources, reread))


def _for_development(values: dict[str, Any], extra: dict[str, Any]) -> None:
    """What was given otherwise stays."""
    if not values.keys() & {"bind", "host", "uds", "fd"}:
        values["host"] = "127.0.0.1"
    usual = {"reload": True, "reload_browser": True, "workers": "1"}
    usual["log_format"] = "console" if extra["verbose"] else "short"
    values |= {name: value for name, value in usual.items() if name not in values}


def show_config(config: Config, sources: Sources) -> None:
    """Print the effective configuration, each value with its source."""
    for option in options():
        value = json.dumps(_shown(option, getattr(config, option.name)))
        print(f"{option.name:<26} {value:<32} {sources[option.name]}")


def _shown(option: OptionInfo, value: Any) -> Any:
    if option.opt.secret and value is not None:
        return HIDDEN
    return list(value) if isinstance(value, tuple) else value


def check(
    config: Config,
    sources: Sources,
    *,
    termination_grace_period: float | None,
    streams: int,
    strict: bool,
) -> None:
    """Load configuration and application, run startup and shutdown once, and warn of later problems."""
    check_supported()
    from hsrv.operate.check import Expectations, check  # noqa: PLC0415  # imports what only POSIX has, after the check

    FileEnvironment().read(config)
    found = check(config, Expectations(termination_grace_period, streams))
    for warning in found.warnings:
        sys.stderr.write(f"hsrv: warning: {visible(warning)}\n")
    lifespan = "lifespan started and shut down" if found.lifespan else "no lifespan"
    print(f"{found.app} loads, {lifespan}, {len(found.warnings)} warnings")
    raise typer.Exit(ExitCode.INTERNAL if strict and found.warnings else ExitCode.OK)


def systemd_unit(
    config: Config, sources: Sources, *, config_file: str | None, name: str | None, socket: bool
) -> None:
    """Print a systemd unit that starts the server with this configuration, in this directory."""
    check_supported()
    from hsrv.operate import unitfile  # noqa: PLC0415  # imports what only POSIX has, after the check

    facts = unitfile.facts(name)
    unit = (
        unitfile.sockets(config, facts) if socket else unitfile.service(config, sources, facts, config_file)
    )
    sys.stdout.write(unit)


def _own(
    name: str, kind: Any, default: Any, *, panel: str = "Check", short: str | None = None, **info: Any
) -> inspect.Parameter:
    flags = [f"--{name.replace('_', '-')}", *([short] if short is not None else [])]
    option = typer.Option(*flags, rich_help_panel=panel, **info)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, option])


_CHECK_OPTIONS = (
    _own(
        "termination_grace_period",
        float | None,
        None,
        help="time between TERM and KILL",
        metavar="TIME",
        parser=time_from(0),
    ),
    _own("streams", int, 800, help="expected number of streams open at a time", metavar="N"),
    _own("strict", bool, False, help="exit 1 when there are warnings"),
)

_DEV_OPTIONS = (
    _own(
        "verbose",
        bool,
        False,
        panel="Development",
        short="-v",
        help="every line of the log, and whole tracebacks",
    ),
)

_UNIT_OPTIONS = (
    _own(
        "name",
        str | None,
        None,
        panel="Unit",
        help="name of the unit; default: that of the directory",
        metavar="NAME",
    ),
    _own("socket", bool, False, panel="Unit", help="the .socket unit instead: systemd binds the addresses"),
)


def version() -> None:
    """Print the versions of hsrv and Python, and whether this hsrv is compiled."""
    compiled = "compiled, " if is_compiled() else ""
    print(f"hsrv {__version__} ({compiled}Python {'.'.join(map(str, sys.version_info[:3]))})")


_CONFIGURED: Final[Mapping[str, tuple[Callable[..., None], tuple[inspect.Parameter, ...]]]] = {
    "check": (check, _CHECK_OPTIONS),
    "dev": (dev, _DEV_OPTIONS),
    "start": (start, ()),
    "systemd-unit": (systemd_unit, _UNIT_OPTIONS),
    "config": (show_config, ()),
}
"""The commands that take every option of the server, and what each takes beside."""


def command_line(word: str = "") -> typer.Typer:
    """Every command; or this one alone, if there is one of this name: to declare all options of all takes long."""
    app = typer.Typer(
        name="hsrv",
        cls=_Group,
        callback=_before,
        help="An application server for Python web apps: short requests and long-lived streams in separate processes.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    adders = _adders()
    for add in [adders[word]] if word in adders else adders.values():
        add(app)
    return app


def _adders() -> dict[str, Callable[[typer.Typer], None]]:
    """By its name, what adds a command to the command line."""
    adders: dict[str, Callable[[typer.Typer], None]] = {
        name: partial(_add_configured, name) for name in _CONFIGURED
    }
    adders["version"] = _add_version
    if is_supported():
        from hsrv.operate.commands import adders as of_a_running_server  # noqa: PLC0415  # imports what only POSIX has

        adders |= of_a_running_server()
    return adders


def _add_version(app: typer.Typer) -> None:
    app.command("version")(version)


def _add_configured(name: str, app: typer.Typer) -> None:
    command, own = _CONFIGURED[name]
    epilog = _EXIT_CODES if name == "start" else None
    adjust = _for_development if name == "dev" else _as_given
    app.command(name, epilog=epilog, cls=_Command)(_with_options(command, *own, adjust=adjust))


def main(arguments: Sequence[str] | None = None) -> None:
    """The `hsrv` command."""
    words = lead_on(sys.argv[1:] if arguments is None else arguments)
    try:
        command_line(*words[:1])(words, prog_name="hsrv")
    except HsrvError as error:
        sys.exit(starting.report(error))
