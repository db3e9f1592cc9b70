"""Who does things to the server while clients use it."""

import os
import random
import signal
import subprocess
import threading
from contextlib import suppress

import psutil

from hsrv.testing import Child
from tests.chaos.server import StormServer
from tests.chaos.timeline import Timeline


class Disturber(threading.Thread):
    """One disturbance after the other until `stop`. `hsrv` commands and signals each have a thread of this kind."""

    def __init__(self, server: StormServer, timeline: Timeline, seed: int, stop: threading.Event) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.server = server
        self.profile = server.profile
        self.timeline = timeline
        self.dice = random.Random(f"{seed}/{self.name}")
        self.stop = stop

    def run(self) -> None:
        while not self.stop.wait(self.dice.uniform(0.1, 1.2)):
            try:
                self.disturb()
            except (psutil.Error, IndexError):
                continue  # who was to be disturbed is gone
            except subprocess.TimeoutExpired as error:
                self.timeline.violation(f"a command never ended: {error.cmd}")

    def disturb(self) -> None:
        raise NotImplementedError


class Operator(Disturber):
    """Uses the commands."""

    def disturb(self) -> None:
        what = self.dice.choice(["reload", "scale", "scale", "restart-worker", "restart-worker", "status"])
        arguments = [what]
        if what == "scale":
            arguments.append(str(self.dice.randint(1, self.profile.workers + 2)))
        elif what == "restart-worker":
            arguments.append(str(self.dice.randint(1, self.profile.workers)))
        self.timeline.event(f"hsrv {' '.join(arguments)} ...")
        done = self.server.command(*arguments)
        told = (done.stdout + done.stderr).strip().splitlines()
        self.timeline.event(f"hsrv {' '.join(arguments)}: {done.returncode} {told[-1:]}")
        if done.returncode not in (0, 1) or "Traceback" in done.stderr:
            self.timeline.violation(f"hsrv {' '.join(arguments)}: {done.returncode} {done.stderr}")
        elif done.returncode == 1 and not self.profile.kills and self.profile.descriptors is None:
            excused = what == "restart-worker" and ("no worker" in done.stderr or "drains" in done.stderr)
            if not excused:
                self.timeline.violation(f"hsrv {' '.join(arguments)} failed: {done.stderr}")


class Ghost(Disturber):
    """Stops processes for a moment, and kills them where the profile says so."""

    def disturb(self) -> None:
        if self.profile.kills and self.dice.random() < 0.4:
            self._kill(self._victim(self.dice.choices(["worker", "pool", "template"], [5, 2, 1])[0]))
        else:
            self._pause(self._victim(self.dice.choice(["worker", "worker", "pool"])))

    def _victim(self, role: str) -> Child:
        return self.dice.choice(self.server.children(role))

    def _kill(self, victim: Child) -> None:
        self.timeline.event(f"kill -9 {victim.pid} {victim.role}-{victim.slot} g{victim.generation}")
        self.timeline.killed(victim.pid, victim.role)
        victim.process.kill()

    def _pause(self, victim: Child) -> None:
        seconds = self.dice.choice([0.05, 0.3, 1.2])
        self.timeline.event(
            f"stop {victim.pid} {victim.role}-{victim.slot} g{victim.generation} for {seconds} s"
        )
        victim.process.suspend()
        self.stop.wait(seconds)
        with suppress(psutil.Error):
            victim.process.resume()


class Signaller(Disturber):
    """HUP, TTIN and TTOU: the same as commands, without an answer."""

    def disturb(self) -> None:
        signum = self.dice.choice([signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU])
        self.timeline.event(signum.name)
        os.kill(self.server.pid, signum)
        self.stop.wait(1.0)


DISTURBERS = (Operator, Ghost, Signaller)
