"""`params._meta`: the trace and the log context of a sender in another process, so that one reload can be followed
through every process's log."""

from typing import Any, Final

from structlog.contextvars import bind_contextvars, get_contextvars

from hsrv.ipc.messages import Trace
from hsrv.logs.logging import current_trace

MAX_FIELDS: Final = 16
"""Fields of log context that are accepted. A peer must not inflate every line."""

MAX_TEXT: Final = 256
"""Characters of each field."""

MAX_BITS: Final = 53
"""Bits of an integer that every JSON reader accepts."""

_PLAIN: Final = (str, int, float, bool)


def with_meta(params: Any) -> Any:
    """`params` with the log context and trace of the current context. Only objects can carry them."""
    meta: dict[str, Any] = {}
    if fields := get_contextvars():
        meta["log"] = {
            name: value if isinstance(value, _PLAIN) else str(value) for name, value in fields.items()
        }
    if (trace := current_trace.get()) is not None:
        meta["request_id"], meta["traceparent"] = trace.request_id, trace.traceparent
    if not meta or not (params is None or isinstance(params, dict)):
        return params
    return {**(params or {}), "_meta": meta}


def meta_of(params: Any) -> dict[str, Any]:
    """The sender's `_meta`; empty when it is missing or invalid."""
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def enter(meta: dict[str, Any]) -> None:
    """Set log context and trace of the current context to the sender's."""
    fields = meta.get("log")
    if isinstance(fields, dict):
        kept = [(name, value) for name, value in fields.items() if isinstance(value, _PLAIN)][:MAX_FIELDS]
        bind_contextvars(**{str(name)[:MAX_TEXT]: _bounded(value) for name, value in kept})
    request_id, traceparent = meta.get("request_id"), meta.get("traceparent")
    if isinstance(request_id, str):
        parent = traceparent[:MAX_TEXT] if isinstance(traceparent, str) else None
        current_trace.set(Trace(request_id=request_id[:MAX_TEXT], traceparent=parent))


def _bounded(value: Any) -> Any:
    """Limit the length of texts; turn integers that another encoding can't represent into texts."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > MAX_BITS:
        value = str(value)
    return value[:MAX_TEXT] if isinstance(value, str) else value
