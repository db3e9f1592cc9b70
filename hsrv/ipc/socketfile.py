"""The file of a listening Unix socket: removed by the last of supervisor and template."""

import stat
from pathlib import Path

from hsrv.ipc.messages import ListenerInfo


def remove_socket_file(info: ListenerInfo) -> None:
    """Remove the file if it still belongs to this server: another one may have created its own there. Never raises
    OSError."""
    if info.unix_inode is None:
        return
    path = Path(info.address[0])
    try:
        found = path.lstat()  # hsrv never creates a link
        if stat.S_ISSOCK(found.st_mode) and found.st_ino == info.unix_inode:
            path.unlink()
    except OSError:
        return  # gone, or no longer removable by this user
