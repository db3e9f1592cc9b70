"""`--user` and `--group`: drop root irrevocably.

Promises: after `become()` no user, group or capability of root is left in this process or its children; this is
verified, not assumed.
"""

import grp
import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from hsrv.common.errors import ConfigError, HsrvError


@dataclass(frozen=True)
class Account:
    """The user and groups to switch to."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    """All of them, `gid` too."""
    name: str = ""
    """"" when the user stays the same, or has no name."""
    home: str = ""


def resolve(user: str | None, group: str | None) -> Account | None:
    """The account of these options; None: the current one. Raises ConfigError for unknown ones and without
    permission."""
    if user is None and group is None:
        return None
    entry = _user(user) if user is not None else None
    gid = _group(group) if group is not None else None
    if isinstance(entry, int):
        if gid is None:
            raise ConfigError(
                f"--user {user}: has no entry in the user database, so --group must name its group"
            )
        account = Account(entry, gid, (gid,))
    elif entry is not None:
        main = entry.pw_gid if gid is None else gid
        groups = tuple(sorted({main, *os.getgrouplist(entry.pw_name, main)}))
        account = Account(entry.pw_uid, main, groups, entry.pw_name, entry.pw_dir)
    else:
        assert gid is not None
        account = Account(os.geteuid(), gid, (gid,))
    if os.geteuid() == 0:
        return account
    if (account.uid, account.gid) == (os.geteuid(), os.getegid()):
        return None
    option = f"--group {group}" if user is None or account.uid == os.geteuid() else f"--user {user}"
    raise ConfigError(f"{option}: only root may change user and group, and this is user {os.geteuid()}")


def _user(text: str) -> pwd.struct_passwd | int:
    """Its entry, or its number when it has none."""
    try:
        return pwd.getpwuid(int(text)) if _is_number(text) else pwd.getpwnam(text)
    except KeyError:
        if _is_number(text):
            return int(text)
        raise ConfigError(f"--user {text}: there is no such user") from None


def _group(text: str) -> int:
    if _is_number(text):
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigError(f"--group {text}: there is no such group") from None


def _is_number(text: str) -> bool:
    """Up to the kernel's greatest id; the one above means "none" (chown(2))."""
    return text.isascii() and text.isdecimal() and int(text) < 2**32 - 1


def become(account: Account) -> None:
    """Switch this process to the account. Raises ConfigError when the system doesn't permit it."""
    who = f"--user {account.name or account.uid} --group {account.gid}"
    try:
        os.setgroups(account.groups)
        os.setgid(account.gid)  # group first: a user who isn't root couldn't
        os.setuid(account.uid)  # by root: the real, effective and saved one
    except OSError as error:
        raise ConfigError(f"{who}: {error.strerror}; CAP_SETUID and CAP_SETGID are needed") from error
    _check(account)
    if account.uid != 0:
        _clear_environment_of_root(account)
        _check_reach(who)


def _check(account: Account) -> None:
    users, groups = {os.getuid(), os.geteuid()}, {os.getgid(), os.getegid()}
    if hasattr(os, "getresuid"):
        users |= {*os.getresuid()}
        groups |= {*os.getresgid()}
    stays = users == {account.uid} and groups == {account.gid} and set(os.getgroups()) <= set(account.groups)
    if not stays or (account.uid != 0 and _can_return()):
        raise HsrvError(f"user {account.uid} could still become root again, so nothing was started")


def _can_return() -> bool:
    for way in (os.setuid, os.seteuid):
        try:
            way(0)
        except OSError:
            continue
        return True
    return False


def _clear_environment_of_root(account: Account) -> None:
    """Remove variables that name root's directories: they would only cause errors."""
    os.environ.pop("XDG_RUNTIME_DIR", None)
    for variable in ("USER", "LOGNAME", "HOME"):
        os.environ.pop(variable, None)
    if account.name:
        os.environ["USER"] = os.environ["LOGNAME"] = account.name
    if account.home:
        os.environ["HOME"] = account.home


def _check_reach(who: str) -> None:
    """The template is a new interpreter: it must be able to access Python and this package."""
    if not os.access(sys.executable, os.X_OK):
        raise ConfigError(f"{who}: that user may not run {sys.executable}, or enter a directory above it")
    package = Path(__file__).parent.parent
    if not os.access(package, os.R_OK | os.X_OK):
        raise ConfigError(f"{who}: that user may not read {package}, or enter a directory above it")
