"""Raw values of the options, later layers over earlier ones.

Also under the names of other servers (`hsrv.options.othernames`). Promises: two names of the same option in one layer
are a problem, because nobody could say which one counts. Pure.
"""

from typing import Any, Final

from hsrv.options.bindspec import TcpBind, parse_bind
from hsrv.options.config import options
from hsrv.options.othernames import OTHER_NAMES, OtherName

OPTIONS: Final = {option.name: option for option in options()}

Sources = dict[str, str]
"""Option to where its value was set: "default", "hsrv.toml", "HSRV_WORKERS", "--workers"."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})

_DEFAULT_ADDRESS: Final = TcpBind("127.0.0.1", 8000)


def switch(value: Any) -> Any:
    """True or False if that is what a text says; else the value itself."""
    word = value.strip().lower() if isinstance(value, str) else value
    return True if word in _TRUE else False if word in _FALSE else value


class Layers:
    """Raw values, later layers over earlier ones, and the problems found."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: Sources = {}
        self.problems: list[str] = []
        self._given: dict[str, str] = {}
        """What this layer has set, and where."""

    def begin(self) -> None:
        """What follows takes precedence over all so far."""
        self._given.clear()

    def put(self, name: str, value: Any, source: str) -> bool:
        """Set an option by its name here or elsewhere. False if there is none of this name."""
        other = OTHER_NAMES.get(name)
        if name in OPTIONS:
            self._set(name, value, source)
        elif other is None or not (other.to or other.says):
            return False
        elif other.says:
            self.problems.append(f"{source}: {other.says}")
        elif other.to in ("host", "port"):
            self._set_part(other.to, value, source)
        elif other.off is not None:
            self._set_switch(other, value, source)
        else:
            self._set(other.to, value if other.form == "{}" else other.form.format(value), source)
        return True

    def _set(self, name: str, value: Any, source: str) -> None:
        for part in ("host", "port") if name == "bind" else (name,):
            self._claim(part, source)
        self.values[name] = value
        self.sources[name] = source

    def _set_switch(self, other: OtherName, value: Any, source: str) -> None:
        is_on = switch(value)
        if not isinstance(is_on, bool):
            self.problems.append(f"{source} = {value!r}: allowed is true or false")
        elif not is_on:
            self._set(other.to, other.off, source)

    def _set_part(self, part: str, value: Any, source: str) -> None:
        """Half of an address: the other half is that of the layers below, or the default."""
        before = self._address()
        beside = self._given.get("host") or self._given.get("port")
        self._claim(part, source)
        host, port = (str(value), before.port) if part == "host" else (before.host, value)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        self.values["bind"] = [f"{host}:{port}"]
        self.sources["bind"] = f"{beside}, {source}" if beside else source

    def _address(self) -> TcpBind:
        addresses = self.values.get("bind", [])
        addresses = [addresses] if isinstance(addresses, str) else addresses
        try:
            found = [parse_bind(address) for address in addresses]
        except (ValueError, AttributeError, TypeError):  # told with all other problems
            return _DEFAULT_ADDRESS
        return found[0] if len(found) == 1 and isinstance(found[0], TcpBind) else _DEFAULT_ADDRESS

    def _claim(self, name: str, source: str) -> None:
        before = self._given.setdefault(name, source)
        if before != source:
            self.problems.append(f"{before} and {source} set the same option: give one of them")


def is_list(name: str) -> bool:
    """Whether what this name sets is a list as a whole, and not a part of one."""
    other = OTHER_NAMES.get(name)
    if name not in OPTIONS and other is not None and other.form == "{}" and other.off is None:
        name = other.to
    return name in OPTIONS and OPTIONS[name].is_list
