"""Files without a name, which processes share by their descriptor."""

import os
import tempfile
from pathlib import Path


def anonymous_file(name: str) -> int:
    """The descriptor of an empty one, close-on-exec. `name`: for whoever looks into /proc. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix=f"{name}-")
    Path(path).unlink()
    return fd
