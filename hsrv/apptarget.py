"""Which application is meant, without importing anything of it: also the supervisor may know that much."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from hsrv.config import Config
from hsrv.errors import AppLoadError

DISCOVERED_MODULES: Final = ("main", "app", "asgi")
DISCOVERED_ATTRIBUTES: Final = ("app", "application", "asgi")


@dataclass(frozen=True)
class AppTarget:
    """Where the application is to be found."""

    module: str
    attribute: str
    """Dotted; "" when it is to be discovered in the module."""
    call: bool
    """The attribute is a factory: call it without arguments."""
    how_found: str
    """For people; "" when it was asked for by name."""

    @property
    def import_string(self) -> str:
        attribute = self.attribute or "|".join(DISCOVERED_ATTRIBUTES)
        return f"{self.module}:{attribute}{'()' if self.call else ''}"


def resolve_target(config: Config) -> AppTarget:
    """The application that the configuration names, or the first that discovery finds. Raises AppLoadError."""
    if config.app is None:
        return _discover(config)
    text = config.app.strip()
    module, colon, attribute = text.partition(":")
    if not colon:
        module, dot, attribute = text.rpartition(".")
        if not dot:
            module, attribute = text, ""
    call = config.factory or attribute.endswith("()")
    attribute = attribute.removesuffix("()")
    names = [*module.split("."), *(attribute.split(".") if attribute else [])]
    if not all(name.isidentifier() for name in names) or (colon and not attribute):
        raise AppLoadError(
            f"{text!r} names no application; allowed: module:attribute, module:factory() or a dotted attribute"
        )
    return AppTarget(module, attribute, call, "")


def _discover(config: Config) -> AppTarget:
    folder = Path(config.app_dir)
    for name in DISCOVERED_MODULES:
        for path in (folder / f"{name}.py", folder / name / "__init__.py"):
            if path.is_file():
                return AppTarget(name, "", config.factory, f"found in {path}")
    looked = ", ".join(f"{name}.py, {name}/" for name in DISCOVERED_MODULES)
    raise AppLoadError(
        f"no application given and none found: looked for {looked} in {folder.resolve()}. "
        "Name it: hsrv start MODULE:ATTRIBUTE"
    )


def import_string(app: object) -> str:
    """The import string of an application. Raises ValueError for one that no other process could import."""
    if isinstance(app, str):
        return app
    for module in (app.__module__, *sys.modules):  # an instance knows the module of its class, not its own
        names = vars(sys.modules[module]) if isinstance(sys.modules.get(module), ModuleType) else {}
        found = next((name for name, value in names.items() if value is app), None)
        if found is not None and module != "__main__":
            return f"{module}:{found}"
    raise ValueError(f"{app!r} is not at the top of an importable module: give its import string")
