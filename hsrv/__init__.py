"""hsrv: a Python application server for short requests and long-lived streams, in separate processes."""

__version__ = "0.1.0"
