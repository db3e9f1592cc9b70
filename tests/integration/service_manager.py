"""Service managers: a socket of ours that writes down what it is told, and the real one in a corner of its own."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.conftest import DEADLINE

PASS_ON = f"""#!{sys.executable}
import os, socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(os.environ.pop("PASS_FROM"))
    names, fds, _, _ = socket.recv_fds(sock, 4096, 16)
    high = [os.dup2(fd, 100 + at) for at, fd in enumerate(fds)]
for at, fd in enumerate(high):
    os.dup2(fd, 3 + at)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names.decode())
os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])
"""
"""An interpreter to be started as: with the sockets that it is sent, as a manager would pass them."""


@dataclass
class Told:
    """One message."""

    pid: int
    lines: dict[str, str]
    fds: list[int] = field(default_factory=list)


class NotifySocket:
    """What a manager listens on."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.told: list[Told] = []
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True, name="service manager")
        self._thread.start()

    def wait(self, wanted: Callable[[Told], object], what: str, since: int = 0) -> Told:
        """The first message, also an earlier one from number `since` on, for which `wanted` is true."""
        end = time.monotonic() + DEADLINE
        with self._news:
            while True:
                for told in self.told[since:]:
                    if wanted(told):
                        return told
                since = len(self.told)
                if not self._news.wait(end - time.monotonic()):
                    raise AssertionError(f"not told within {DEADLINE} s: {what}; but {self.told}")

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                self._hear()

    def _hear(self) -> None:
        space = socket.CMSG_SPACE(4 * 16) + socket.CMSG_SPACE(12)
        data, ancillary, _, _ = self._sock.recvmsg(65536, space)
        if not data:
            raise OSError("closed")
        told = Told(0, dict(line.split("=", 1) for line in data.decode().splitlines()))
        for level, kind, content in ancillary:
            assert level == socket.SOL_SOCKET
            if kind == socket.SCM_RIGHTS:
                told.fds = list(struct.unpack(f"{len(content) // 4}i", content))
            else:
                told.pid = struct.unpack("3i", content)[0]
        with self._news:
            self.told.append(told)
            self._news.notify_all()

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE)
        self._sock.close()
        for told in self.told:
            for fd in told.fds:
                os.close(fd)


@contextmanager
def passed_on(folder: Path, sockets: list[tuple[str, int]]) -> Iterator[dict[str, str]]:
    """Options for a server that is started with these sockets, by name."""
    script, path = folder / "python", folder / "pass"
    script.write_text(PASS_ON)
    script.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        names = ":".join(name for name, _ in sockets)
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                client, _ = listener.accept()
                socket.send_fds(client, [names.encode()], [fd for _, fd in sockets])
            os._exit(0)
        try:
            yield {"python": str(script), "PASS_FROM": str(path)}
        finally:
            os.waitpid(pid, 0)
            path.unlink()


# the real one

SCRIPT = """
for corner in $CORNERS; do echo $$ > "$corner/cgroup.procs" || exit 9; done
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system /run/xdg/systemd/user || exit 9
exec /usr/lib/systemd/systemd --user --log-target=console
"""


class RealManager:
    """`systemd --user` with a /run of its own, so that nothing on the machine sees it."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "manager.log"
        self._corners = new_cgroups()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", SCRIPT],
                env={
                    **os.environ,
                    "XDG_RUNTIME_DIR": "/run/xdg",
                    "CORNERS": " ".join(map(str, self._corners)),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ready(self) -> bool:
        """Whether it runs. It doesn't in most containers."""
        end = time.monotonic() + DEADLINE
        while self._process.poll() is None and time.monotonic() < end:
            if self.control("list-units", check=False).returncode == 0:
                return True
            time.sleep(0.05)
        return False

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """With its /run."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._process.pid), "-m", *command],
            env={**os.environ, "XDG_RUNTIME_DIR": "/run/xdg"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self.log}"
        return done

    def control(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.run("systemctl", "--user", *arguments, check=check)

    def show(self, unit: str) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.control("show", unit).stdout.splitlines())

    def install(self, name: str, text: str) -> None:
        self.run("sh", "-c", f"cat > /run/xdg/systemd/user/{name} <<'END'\n{text}\nEND")
        self.control("daemon-reload")

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        if self._process.poll() is None:
            self.control("stop", "*.service", "*.socket", check=False)
            self._process.terminate()
            self._process.wait(DEADLINE)
        for corner in self._corners:
            for folder, _, _ in os.walk(corner, topdown=False):
                Path(folder).rmdir()


def new_cgroups() -> list[Path]:
    """Where the manager may make those of its services, apart from everybody's: one in each hierarchy that it uses."""
    found = []
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
        if Path(root, "cgroup.procs").exists():
            folder = Path(root, f"hsrv-test-{os.getpid()}")
            folder.mkdir()
            found.append(folder)
    return found


@contextmanager
def real_manager(folder: Path) -> Iterator[RealManager]:
    """Skips the test where there can't be one."""
    tools = [tool for tool in ("unshare", "nsenter", "systemctl") if shutil.which(tool) is None]
    if tools or not Path("/usr/lib/systemd/systemd").exists() or os.geteuid() != 0:
        pytest.skip(f"needs root, and systemd; missing: {tools}")
    try:
        manager = RealManager(folder)
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if not manager.ready():
            pytest.skip(f"systemd --user does not run here: {manager.log[-200:]}")
        yield manager
    finally:
        manager.stop()
