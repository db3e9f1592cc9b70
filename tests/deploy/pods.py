"""A pod without a cluster: the processes of a rendered overlay, started and ended in the kubelet's order.

Commands, hooks, variables and configuration are the manifest's, with their paths below one directory and the port on
loopback. Left out is what needs a container: users, cgroups, namespaces.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from hsrv.testing import LiveServer
from tests.deploy.manifests import Manifest, config_of, objects, pod
from tests.deploy.nginx import Nginx, free_port, moved
from tests.integration.conftest import ROOT


class Pod:
    """hsrv and nginx of one overlay, sharing a Unix socket; nginx has the network."""

    def __init__(self, overlay: str, *, version_file: Path, haste: float = 1.0, **options: Any) -> None:
        """`haste`: what the hooks' waits are divided by. `options`: of hsrv, over those of the manifest."""
        self.folder = Path(tempfile.mkdtemp(prefix="pod-"))
        self.port = free_port()
        self.spec = pod(overlay)
        self.overlay = overlay
        self._haste = haste
        self._times: list[tuple[float, str]] = []
        self.order: list[str] = []
        """What happened, in order."""
        [conf] = [
            found["data"]["nginx.conf"]
            for found in objects(overlay, "ConfigMap")
            if "nginx.conf" in found["data"]
        ]
        self.nginx = Nginx(moved(conf, self.folder, self.port), self.port, self.folder)
        (self.folder / "config").mkdir()
        config = config_of(overlay, self.folder / "config")
        self.hsrv = LiveServer(
            "tests.apps.versioned:app",
            env={"VERSION_FILE": str(version_file)},
            cwd=ROOT,
            bind=[moved(bind, self.folder, 0) for bind in config.bind],
            workers=2,
            run_dir=str(self.folder / "run"),
            graceful_timeout=config.graceful_timeout,
            unix_mode=config.unix_mode,
            **{"stream_grace": config.stream_grace, **options},
        )
        self.grace = float(self.spec["terminationGracePeriodSeconds"])

    def _start(self, container: Manifest) -> None:
        """Returns when its startup probe would pass."""
        (self.hsrv if container["name"] == "hsrv" else self.nginx).__enter__()
        self.order.append(f"{container['name']} started")

    def start(self) -> "Pod":
        for container in [*self.spec["initContainers"], *self.spec["containers"]]:
            self._start(container)
        return self

    # the end

    def delete(self) -> float:
        """As the kubelet ends a pod; how long it took. All hooks begin at once; main containers get TERM after their
        hook; sidecars after theirs, when no main container is left."""
        began = time.monotonic()
        sidecars, mains = self.spec["initContainers"], self.spec["containers"]
        gone = threading.Event()
        faults: list[BaseException] = []

        def end(container: Manifest) -> None:
            try:
                self._hook(container)
                if container in sidecars:
                    gone.wait(self.grace)
                self._terminate(container)
            except BaseException as fault:  # told by the test's own thread
                faults.append(fault)

        threads = {one["name"]: threading.Thread(target=end, args=[one]) for one in [*sidecars, *mains]}
        for thread in threads.values():
            thread.start()
        for container in mains:
            threads[container["name"]].join(self.grace)
        gone.set()
        for thread in threads.values():
            thread.join(self.grace)
            assert not thread.is_alive(), f"still ends: {thread}"
        assert not faults, faults
        return time.monotonic() - began

    def _hook(self, container: Manifest) -> None:
        command = [
            moved(word, self.folder, self.port)
            for word in container["lifecycle"]["preStop"]["exec"]["command"]
        ]
        if command[0] == "hsrv":
            at = command.index("--delay") + 1
            command[at] = str(float(command[at]) / self._haste)
            command = [sys.executable, "-m", *command]
        else:
            command[-1] = self._script(command[-1])
        environ = {**os.environ, "HSRV_RUN_DIR": self.hsrv.run_dir}
        done = subprocess.run(
            command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=self.grace, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        self.order.append(f"{container['name']} hook over")

    def _script(self, text: str) -> str:
        """The shell's part: our nginx, our configuration, less time."""
        ours = " ".join(shlex.quote(word) for word in self.nginx.command)
        text = re.sub(r"nginx -c \S+", ours, text)
        return re.sub(r"^sleep (\d+);", lambda found: f"sleep {float(found[1]) / self._haste};", text)

    def _terminate(self, container: Manifest) -> None:
        name = container["name"]
        self.order.append(f"{name} TERM")
        if name == "hsrv":
            self.exit_code = self.hsrv.stop()
        elif self.nginx.process.poll() is None:
            self.nginx.stop()
        self.order.append(f"{name} gone")

    def close(self) -> None:
        """Whatever became of it."""
        try:
            if self.nginx.process.poll() is None:
                self.nginx.stop()
            self.hsrv.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
