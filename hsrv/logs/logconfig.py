"""The file of `--log-config`: what `logging.config.dictConfig()` takes, as JSON, YAML or TOML.

Applied in the processes that import the application, before it is imported: the file may name its classes.
"""

import json
from pathlib import Path
from typing import Any


def read(path: str) -> dict[str, Any]:
    """Raises ValueError with one sentence."""
    try:
        found = _parse(Path(path))
    except (OSError, ValueError) as error:  # also of its encoding and its syntax
        raise ValueError(f"can't be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("is not a table of settings, as logging.config.dictConfig() takes it")
    return {"version": 1, **found}


def _parse(path: Path) -> Any:
    text = path.read_text("utf-8")
    if path.suffix in (".yaml", ".yml"):
        return _parse_yaml(text)
    if path.suffix == ".toml":
        import tomllib  # noqa: PLC0415  # most servers have no such file

        return tomllib.loads(text)
    if path.suffix == ".json":
        return json.loads(text)
    raise ValueError("allowed are .json, .yaml, .yml and .toml")


def _parse_yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415  # only here, and not a requirement of hsrv
    except ImportError:
        raise ValueError("YAML needs the package PyYAML") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def apply(path: str) -> None:
    """Raises ValueError, and whatever a class that the file names raises."""
    import logging.config  # noqa: PLC0415  # most servers have no such file

    logging.config.dictConfig(read(path))
