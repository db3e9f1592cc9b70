"""Anonymous files, which processes share through their descriptors."""

import os
import tempfile
from pathlib import Path


def anonymous_file(name: str) -> int:
    """The descriptor of an empty anonymous file, close-on-exec. `name`: shown in /proc. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    fd, path = tempfile.mkstemp(prefix=f"{name}-")
    Path(path).unlink()
    return fd
