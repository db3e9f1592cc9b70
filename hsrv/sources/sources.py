"""Merges defaults, file, environment and command line into one `Config`, each value with its source.

    defaults  <  hsrv.toml or [tool.hsrv] in pyproject.toml  <  environment  <  command line

If there is an hsrv.toml, pyproject.toml is ignored: hsrv.toml is the more specific one. In the environment the usual
variables (WEB_CONCURRENCY, PORT, FORWARDED_ALLOW_IPS) have the lowest precedence, then those of uvicorn.

Promises: every problem is reported in one message, each with the option, the value, where it was set and what is
allowed.
"""

import difflib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from hsrv.common.errors import ConfigError
from hsrv.logs import logconfig
from hsrv.logs.accesslog import compile_format
from hsrv.options.config import Config, OptionInfo, cross_check
from hsrv.options.othernames import VALUES
from hsrv.options.units import SIZE_EXAMPLES, TIME_EXAMPLES, parse_size, parse_time
from hsrv.sources.envfile import parse_env
from hsrv.sources.layers import OPTIONS, Layers, Sources, is_list, switch

CONFIG_FILES: Final = ("hsrv.toml", "pyproject.toml")
NOT_OPTIONS: Final = frozenset({"HSRV_CONFIG", "HSRV_COMPILE", "HSRV_SUCCEEDS"})
"""HSRV_COMPILE: may still be set in a shell that has just installed hsrv. HSRV_SUCCEEDS: how a server that takes over
finds the old one (`hsrv.supervisor.upgrade.takeover`)."""

_service_link: Final = re.compile(
    r"HSRV_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)
"""Variables that Kubernetes sets in every container if there is a Service named hsrv or hsrv-something: no mistake."""

HIDDEN: Final = "..."
"""Shown instead of a secret."""

UNBOUNDED: Final = 1e9
"""Upper limits from here on only exclude values that no system call accepts: not worth mentioning in an error."""

_OWN: Final = "HSRV_"
_UVICORN: Final = "UVICORN_"
_USUAL: Final = {"WEB_CONCURRENCY": "workers", "PORT": "bind", "FORWARDED_ALLOW_IPS": "forwarded_allow_ips"}
"""Variables of platforms and of other servers."""

_COMMAS: Final = frozenset({"forwarded_allow_ips", "proxy_protocol_from"})
"""Lists that other servers take as one text with commas."""


def load_config(
    command_line: Mapping[str, Any] | None = None,
    *,
    config_file: str | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    flag: str = "--{}",
    but: Collection[str] = (),
) -> tuple[Config, Sources]:
    """The effective configuration. `command_line`: option name to value, only of options given. Raises ConfigError.
    `but`: variables of the environment that are the application's alone: they came from its `--env-file`.

    `flag` formats the source of those values: "--{}", or "run({}=...)" for the Python API.
    """
    given = os.environ if environ is None else environ
    environ = {name: value for name, value in given.items() if name not in but}
    layers = Layers()
    _read_file(layers, config_file or environ.get("HSRV_CONFIG"), folder or Path())
    _read_environment(layers, environ)
    layers.begin()
    for name, value in (command_line or {}).items():
        source = flag.format(name if "(" in flag else name.replace("_", "-"))
        if not layers.put(name, value, "APP" if (name, flag) == ("app", "--{}") else source):
            layers.problems.append(f"{source}: no such option{_closest(name, OPTIONS)}")
    return _convert(layers, folder or Path())


# file


def _read_file(layers: Layers, given: str | None, folder: Path) -> None:
    for path in [folder / given] if given else [folder / name for name in CONFIG_FILES]:
        shown = given or path.name
        try:
            table = _table(path, must_exist=given is not None)
        except ValueError as error:
            layers.problems.append(f"{shown}: {error}")
            return
        if table is None:
            continue
        for key, value in table.items():
            name = key.replace("-", "_")
            if not layers.put(name, value, shown if name in OPTIONS else f"{shown}, {key}"):
                layers.problems.append(f"{shown}: unknown key {key!r}{_closest(name, OPTIONS)}")
        return


def _table(path: Path, *, must_exist: bool) -> dict[str, Any] | None:
    """The file's options; None if there is no file, or no section for hsrv. Raises ValueError."""
    if path.suffix == ".py":
        raise ValueError("is Python, as of gunicorn; hsrv reads TOML: see docs/migration.md")
    try:
        text = path.read_text("utf-8")
        import tomllib  # noqa: PLC0415  # most servers have no file

        data = tomllib.loads(text)
    except FileNotFoundError:
        if must_exist:
            raise ValueError("no such configuration file") from None
        return None
    except (OSError, ValueError) as error:  # also of its encoding and its syntax
        raise ValueError(f"can't be read: {error}") from error
    if path.name != "pyproject.toml":
        return data
    tool = data.get("tool", {})
    table = tool.get("hsrv") if isinstance(tool, dict) else None
    if table is None and must_exist:
        raise ValueError("has no [tool.hsrv]")
    if not isinstance(table, dict | None):
        raise ValueError(f"tool.hsrv = {table!r}: allowed is a table, [tool.hsrv]")
    return table


# environment


def _read_environment(layers: Layers, environ: Mapping[str, str]) -> None:
    """Those of other servers first: our own take precedence."""
    layers.begin()
    for variable, name in _USUAL.items():
        if environ.get(variable):  # platforms set them empty for "not set"
            text = environ[variable]
            layers.put(name, f"0.0.0.0:{text}" if variable == "PORT" else text, variable)
    for prefix in (_UVICORN, _OWN):
        layers.begin()
        for variable, text in environ.items():
            if variable.startswith(prefix) and variable not in NOT_OPTIONS and not _is_link(variable, text):
                _read_variable(layers, prefix, variable, text)


def _read_variable(layers: Layers, prefix: str, variable: str, text: str) -> None:
    name = variable.removeprefix(prefix).lower()
    value = _texts(text, prefix) if is_list(name) else text
    if not (variable.isupper() and layers.put(name, value, variable)) and prefix == _OWN:
        known = [option.variable for option in OPTIONS.values()]
        layers.problems.append(f"{variable}: no such option{_closest(variable, known)}")


def _texts(text: str, prefix: str) -> list[str]:
    parts = re.split(r"[,\s]" if prefix == _UVICORN else ",", text)
    return [part.strip() for part in parts if part.strip()]


def _is_link(variable: str, text: str) -> bool:
    if variable.endswith("_PORT") and not variable.endswith("_SERVICE_PORT"):  # a user could set it, too
        return text.startswith(("tcp://", "udp://", "sctp://"))
    return _service_link.fullmatch(variable) is not None


def read_env_file(path: str) -> dict[str, str]:
    """The variables of an `--env-file` (see `hsrv.sources.envfile`). Raises ConfigError with every problem."""
    try:
        return parse_env(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"env_file {path}: can't be read: {error}") from error
    except ValueError as error:
        raise ConfigError(
            "\n".join(f"env_file {path}, {line}" for line in str(error).splitlines())
        ) from error


# conversion


def _convert(layers: Layers, folder: Path) -> tuple[Config, Sources]:
    good: dict[str, Any] = {}
    for name, value in layers.values.items():
        option = OPTIONS[name]
        try:
            good[name] = msgspec.convert(_lenient(option, value), option.type, strict=False)
        except msgspec.ValidationError:
            layers.problems.append(_problem(option, value, layers.sources[name]))
    for name, what in [*cross_check(good), *_check_format(good), *_check_paths(good, folder)]:
        layers.problems.append(f"{name} ({layers.sources.get(name, 'default')}): {what}")
    if layers.problems:
        raise ConfigError("\n".join(layers.problems))
    sources = {name: layers.sources.get(name, "default") for name in OPTIONS}
    return Config(**good), sources


def _check_format(values: dict[str, Any]) -> list[tuple[str, str]]:
    if values.get("access_log_format") is None:
        return []
    try:
        compile_format(values["access_log_format"])
    except ValueError as error:
        return [("access_log_format", str(error))]
    return []


def _check_paths(values: dict[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    """Files and directories that are named must exist: checked before anything starts."""
    if "app_dir" in values and not (folder / values["app_dir"]).is_dir():
        yield "app_dir", f"{values['app_dir']!r}: no such directory"
    if values.get("env_file") is not None and not (folder / values["env_file"]).is_file():
        yield "env_file", f"{values['env_file']!r}: no such file"
    if values.get("log_config") is not None:
        try:
            logconfig.read(str(folder / values["log_config"]))
        except ValueError as error:
            yield "log_config", f"{values['log_config']!r}: {error}"


def _lenient(option: OptionInfo, value: Any) -> Any:
    """Accept other ways to write a value: words for booleans, one text for a list of one, octal integers."""
    if isinstance(option.default, bool) and isinstance(value, str):
        return switch(value)
    if option.is_list and isinstance(value, str):
        value = [value]
    if option.name in _COMMAS and isinstance(value, list):
        return [part.strip() for text in value for part in str(text).split(",") if part.strip()]
    if isinstance(value, str):
        return _from_text(option, VALUES.get((option.name, value.lower()), value))
    if isinstance(value, int) and not isinstance(value, bool):
        if option.name in ("unix_mode", "umask"):
            return f"{value:04o}"  # TOML: 0o660
        if option.name in ("user", "group"):
            return str(value)
    return value


def _from_text(option: OptionInfo, text: str) -> Any:
    """A number of seconds or bytes from a text with a unit, a word as it is spelled; else the text."""
    words = choices(option)
    if text.lower() in words:
        return text.lower()
    if not (option.is_time or option.is_size):
        return text
    try:
        return parse_time(text) if option.is_time else parse_size(text)
    except ValueError:
        return text


def _problem(option: OptionInfo, value: Any, source: str) -> str:
    shown = HIDDEN if option.opt.secret else repr(value)
    examples = f", {TIME_EXAMPLES}" if option.is_time else f", {SIZE_EXAMPLES}" if option.is_size else ""
    return f"{option.name} = {shown} (set by {source}): allowed is {allowed(option)}{examples}"


def allowed(option: OptionInfo) -> str:
    """The allowed values of an option, in words."""
    if isinstance(option.default, bool):
        return "true or false"
    if words := choices(option):
        return f"{', '.join(words[:-1])} or {words[-1]}"
    if option.name == "workers":
        return "a whole number from 1, or auto"
    if option.name in ("unix_mode", "umask"):
        return f"three octal digits, such as {'0660' if option.name == 'unix_mode' else '0027'}"
    bounds = "".join(_bounds(option.type))
    if option.is_time:
        return f"a time{bounds}"
    if option.is_size:
        return f"a size{bounds}"
    kinds = {int: "a whole number", float: "a number", tuple: "a list of texts"}
    return kinds.get(type(option.default), "a text") + bounds


def choices(option: OptionInfo) -> list[str]:
    """The allowed words of an option, if it takes nothing else."""
    if isinstance(option.default, StrEnum):
        return list(type(option.default))
    return list(get_args(option.type)) if get_origin(option.type) is Literal else []


def _bounds(hint: Any) -> Iterator[str]:
    for meta in _metas(hint):
        yield (
            f" from {meta.ge}" if meta.ge is not None else f" above {meta.gt}" if meta.gt is not None else ""
        )
        if meta.le is not None and meta.le < UNBOUNDED:
            yield f" to {meta.le}"


def _metas(hint: Any) -> tuple[Any, ...]:
    return tuple(getattr(hint, "__metadata__", ()))


def _closest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
