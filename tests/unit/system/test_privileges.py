"""Who is meant, and the way down. What needs root runs in a process of its own."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from hsrv.common.errors import BindError, ConfigError
from hsrv.system import privileges, rundir
from hsrv.system.privileges import Account, resolve

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")

NOBODY = pwd.getpwnam("nobody")
NO_SUCH_ID = 3_999_999_999


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "getegid", lambda: 0)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: NOBODY.pw_gid)


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("user", ["nobody", str(NOBODY.pw_uid)])
def test_a_user_is_named_or_numbered(user: str) -> None:
    account = resolve(user, None)
    assert account is not None
    assert (account.uid, account.gid, account.name) == (NOBODY.pw_uid, NOBODY.pw_gid, "nobody")
    assert account.gid in account.groups
    assert account.home == NOBODY.pw_dir


@pytest.mark.usefixtures("root")
def test_a_group_takes_the_place_of_the_users_own() -> None:
    account = resolve("nobody", "1")
    assert account is not None
    assert (account.uid, account.gid) == (NOBODY.pw_uid, 1)
    assert NOBODY.pw_gid not in account.groups
    assert resolve(str(NO_SUCH_ID), "1") == Account(NO_SUCH_ID, 1, (1,))
    assert resolve(None, "1") == Account(0, 1, (1,))


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("user", "group", "said"),
    [
        ("no-such-user", None, "--user no-such-user: there is no such user"),
        ("", None, "no such user"),
        ("-1", None, "no such user"),
        ("4294967295", None, "no such user"),
        ("nobody", "no-such-group", "--group no-such-group: there is no such group"),
        ("nobody", "4294967295", "no such group"),
        (str(NO_SUCH_ID), None, "--group must name its group"),
    ],
)
def test_who_is_unknown_is_said(user: str, group: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(user, group)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("nobody")
def test_who_is_not_root_may_only_stay_the_same() -> None:
    assert resolve("nobody", None) is None
    assert resolve("nobody", str(NOBODY.pw_gid)) is None
    assert resolve(None, str(NOBODY.pw_gid)) is None
    with pytest.raises(ConfigError, match="--user root: only root may change"):
        resolve("root", None)
    with pytest.raises(ConfigError, match="--group 0: only root may change"):
        resolve("nobody", "0")
    with pytest.raises(ConfigError, match="--group 0: only root may change"):
        resolve(None, "0")


def test_without_the_options_nothing_is_asked_for() -> None:
    assert resolve(None, None) is None


def run_apart(code: str) -> str:
    """In a process that may change itself."""
    head = "import os, pwd\nfrom hsrv.system import privileges\nfrom hsrv.common.errors import *\n"
    # What it does after the change may need modules that the new user can't reach.
    head += "privileges._check_reach = lambda who: None\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_root
def test_nothing_of_root_is_left() -> None:
    said = run_apart(
        "os.environ['XDG_RUNTIME_DIR'] = '/run/user/0'\n"
        "privileges.become(privileges.resolve('nobody', None))\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "print(os.environ['USER'], os.environ['HOME'], 'XDG_RUNTIME_DIR' in os.environ)\n"
        "for way in (os.setuid, os.seteuid, os.setgid, os.setegid):\n"
        "    try:\n        way(0)\n        print('root again')\n    except PermissionError:\n        pass\n"
        "print([line for line in open('/proc/thread-self/status') if line.startswith('CapEff')])\n"
    )
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    first, second, third = said.splitlines()
    assert first.startswith(f"{(uid,) * 3} {(gid,) * 3} [")
    assert "0," not in first.split("[")[1]
    assert second == f"nobody {NOBODY.pw_dir} False"
    assert "0000000000000000" in third


@needs_root
def test_an_id_without_an_entry_keeps_no_home_and_name_of_root() -> None:
    said = run_apart(
        "os.environ.update(HOME='/root', USER='root', LOGNAME='root')\n"
        f"privileges.become(privileges.resolve('{NO_SUCH_ID}', '{NO_SUCH_ID}'))\n"
        "print(os.geteuid(), [name for name in ('HOME', 'USER', 'LOGNAME') if name in os.environ])\n"
    )
    assert said == f"{NO_SUCH_ID} []\n"


@needs_root
@pytest.mark.parametrize("way", ["setuid", "setgid", "setgroups"])
def test_a_step_that_does_nothing_is_noticed(way: str) -> None:
    said = run_apart(
        f"os.{way} = lambda *ids: None\n"
        "try:\n    privileges.become(privileges.Account(65534, 65534, ()))\n"
        "except HsrvError as error:\n    print(error)\n"
    )
    if way == "setgroups" and not said:
        pytest.skip("root has no supplementary groups here")
    assert "root again" in said


@needs_root
def test_who_kept_a_way_back_is_noticed() -> None:
    """Only the effective user changes: the saved one stays root."""
    said = run_apart(
        "os.setuid = os.seteuid\n"
        "try:\n    privileges.become(privileges.Account(65534, 65534, (65534,)))\n"
        "except HsrvError as error:\n    print(error)\n"
    )
    assert "root again" in said


@needs_root
def test_a_system_that_does_not_let_us_is_said() -> None:
    said = run_apart(
        "os.setgid(65534)\nos.setuid(65534)\n"
        "try:\n    privileges.become(privileges.Account(1, 1, (1,)))\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    assert "CAP_SETUID" in said


def test_an_interpreter_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="may not run"):
        privileges._check_reach("--user nobody")
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    monkeypatch.setattr(privileges, "__file__", str(tmp_path / "closed" / "system" / "privileges.py"))
    with pytest.raises(ConfigError, match="may not read"):
        privileges._check_reach("--user nobody")


# the operator's directory


@needs_root
def test_root_makes_the_directory_and_gives_it_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rundir, "SYSTEM", tmp_path)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    rundir.make_for(None, 12, 34)
    made = (tmp_path / "hsrv-12").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (12, 34, 0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12)
    assert rundir.default_run_dir() == tmp_path / "hsrv-12"
    assert rundir.prepare(None) == tmp_path / "hsrv-12"
    rundir.make_for(str(tmp_path / "named" / "below"), 12, 34)
    assert (tmp_path / "named" / "below").stat().st_uid == 12
    assert (tmp_path / "named").stat().st_uid == 0


@needs_root
def test_what_is_there_is_nobody_elses_from_then_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rundir, "SYSTEM", tmp_path)
    (tmp_path / "hsrv-12").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "hsrv-12")
    rundir.make_for(None, 12, 34)
    rundir.make_for(str(tmp_path / "link"), 12, 34)
    assert (tmp_path / "hsrv-12").stat().st_uid == 0


def test_a_directory_that_can_not_be_made_is_said_if_it_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BindError, match="--run-dir"):
        rundir.make_for(str(tmp_path / "file" / "below"), os.getuid(), os.getgid())
    monkeypatch.setattr(rundir, "SYSTEM", tmp_path / "file")
    rundir.make_for(None, os.getuid(), os.getgid())
