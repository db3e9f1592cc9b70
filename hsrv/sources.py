"""From defaults, file, environment and command line to one `Config`, each value with its source.

    defaults  <  hsrv.toml or [tool.hsrv] in pyproject.toml  <  environment  <  command line

Promises: every problem is reported in one message, each with the option, the value, where it was set and
what is allowed.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from hsrv.accesslog import compile_format
from hsrv.config import Config, OptionInfo, cross_check, options
from hsrv.errors import ConfigError

OPTIONS: Final = {option.name: option for option in options()}
CONFIG_FILES: Final = ("hsrv.toml", "pyproject.toml")
NOT_OPTIONS: Final = frozenset({"HSRV_CONFIG"})

Sources = dict[str, str]
"""Option to where its value was set: "default", "hsrv.toml", "HSRV_WORKERS", "--workers"."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


class _Layers:
    """Raw values, later layers over earlier ones, and what was wrong with them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: Sources = {}
        self.problems: list[str] = []

    def set(self, name: str, value: Any, source: str) -> None:
        self.values[name] = value
        self.sources[name] = source


def load_config(
    command_line: Mapping[str, Any] | None = None,
    *,
    config_file: str | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    flag: str = "--{}",
) -> tuple[Config, Sources]:
    """The effective configuration. `command_line`: option name to value, only what was given. Raises ConfigError.

    `flag` formats the source of those values: "--{}", or "run({}=...)" for the Python API.
    """
    environ = os.environ if environ is None else environ
    layers = _Layers()
    _read_file(layers, config_file or environ.get("HSRV_CONFIG"), folder or Path())
    _read_environment(layers, environ)
    for name, value in (command_line or {}).items():
        if name in OPTIONS:
            layers.set(name, value, flag.format(name if "(" in flag else name.replace("_", "-")))
        else:
            layers.problems.append(f"{flag.format(name)}: no such option{_closest(name, OPTIONS)}")
    return _convert(layers)


# file


def _read_file(layers: _Layers, given: str | None, folder: Path) -> None:
    for path in [Path(given)] if given else [folder / name for name in CONFIG_FILES]:
        table = _table(path, must_exist=given is not None)
        if table is None:
            continue
        for key, value in table.items():
            name = key.replace("-", "_")
            if name in OPTIONS:
                layers.set(name, value, given or path.name)
            else:
                layers.problems.append(f"{path}: unknown key {key!r}{_closest(name, OPTIONS)}")
        return  # hsrv.toml is the more particular one: with it, [tool.hsrv] is not looked at


def _table(path: Path, *, must_exist: bool) -> dict[str, Any] | None:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: no such configuration file") from None
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    if path.name == "pyproject.toml":
        found = data.get("tool", {}).get("hsrv")
        return found if isinstance(found, dict) else None
    return data


# environment


def _read_environment(layers: _Layers, environ: Mapping[str, str]) -> None:
    if "WEB_CONCURRENCY" in environ:
        layers.set("workers", environ["WEB_CONCURRENCY"], "WEB_CONCURRENCY")
    if "PORT" in environ:
        layers.set("bind", [f"0.0.0.0:{environ['PORT']}"], "PORT")
    known = {option.variable: option for option in OPTIONS.values()}
    for variable, text in environ.items():
        if variable in known:
            option = known[variable]
            value: Any = (
                [part.strip() for part in text.split(",") if part.strip()] if option.is_list else text
            )
            layers.set(option.name, value, variable)
        elif variable.startswith("HSRV_") and variable not in NOT_OPTIONS:
            layers.problems.append(f"{variable}: no such option{_closest(variable, known)}")


def read_env_file(path: str) -> dict[str, str]:
    """NAME=value lines; # comments, blank lines, `export` and quotes allowed. Raises ConfigError."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--env-file {path}: can't be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise ConfigError(f"--env-file {path}, line {number}: not NAME=value: {line.strip()!r}")
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value.split(" #", 1)[0].rstrip()


# conversion


def _convert(layers: _Layers) -> tuple[Config, Sources]:
    good: dict[str, Any] = {}
    for name, value in layers.values.items():
        option = OPTIONS[name]
        try:
            good[name] = msgspec.convert(_lenient(option, value), option.type, strict=False)
        except msgspec.ValidationError as error:
            layers.problems.append(_problem(option, value, layers.sources[name], str(error)))
    for name, what in [*cross_check(good), *_check_format(good)]:
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


def _lenient(option: OptionInfo, value: Any) -> Any:
    """What people write for a value of this type: words for booleans, one text for a list of one, octal integers."""
    if isinstance(option.default, bool) and isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else value
    if option.is_list and isinstance(value, str):
        return [value]
    if option.name == "unix_mode" and isinstance(value, int) and not isinstance(value, bool):
        return f"{value:04o}"  # TOML: 0o660
    return value


def _problem(option: OptionInfo, value: Any, source: str, error: str) -> str:
    return f"{option.name} = {value!r} (set by {source}): allowed is {allowed(option)} [{error.removesuffix('.')}]"


def allowed(option: OptionInfo) -> str:
    """What an option takes, in words."""
    if isinstance(option.default, bool):
        return "true or false"
    default_type = type(option.default)
    if hasattr(default_type, "__members__"):
        return ", ".join(default_type.__members__.values())
    if option.name == "workers":
        return "a whole number from 1, or auto"
    if option.name == "unix_mode":
        return "three octal digits, such as 0660"
    literal = getattr(option.type, "__args__", ())
    if literal and all(isinstance(arg, str) for arg in literal):
        return ", ".join(literal)
    words = {int: "a whole number", float: "a number of seconds", tuple: "a list of texts"}
    least = {"ge": "from", "gt": "above"}
    bound = next(
        (
            f" {word} {getattr(meta, key)}"
            for meta in _metas(option.type)
            for key, word in least.items()
            if getattr(meta, key, None) is not None
        ),
        "",
    )
    return words.get(default_type, "a text") + bound


def _metas(hint: Any) -> tuple[Any, ...]:
    return tuple(getattr(hint, "__metadata__", ()))


def _closest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
