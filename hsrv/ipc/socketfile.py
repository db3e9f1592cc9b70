"""The file of a listening Unix socket: removed by whoever of supervisor and template is the last."""

import stat
from pathlib import Path

from hsrv.ipc.messages import ListenerInfo


def remove_socket_file(info: ListenerInfo) -> None:
    """Remove the file if it is still ours: another server may have put its own there. Never raises
    OSError."""
    if info.unix_inode is None:
        return
    path = Path(info.address[0])
    try:
        found = path.lstat()  # a link was never ours
        if stat.S_ISSOCK(found.st_mode) and found.st_ino == info.unix_inode:
            path.unlink()
    except OSError:
        return  # gone, or not ours to remove any more
