"""Which version this is. Read by the build too (pyproject.toml). Pure."""

__version__ = "0.1.0"
