"""A container image without an engine: a Dockerfile's instructions, carried out in directories and a chroot.

`FROM` gives this system's files and our Python as /usr/local, read-only, instead of the image that it names. Images
that only give a file (COPY --from=uv) are not had: the file must be on the PATH. Everything else is done as written,
each RUN with its ENV and WORKDIR at the paths that the image has. Needs root, and a kernel that lets us unshare.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM = ("bin", "etc", "lib", "lib64", "sbin", "usr")

PASSED_ON = (
    "PIP_",
    "UV_",
    "SSL_",
    "REQUESTS_",
    "LD_LIBRARY_PATH",
    "HTTP_",
    "HTTPS_",
    "http_",
    "https_",
    "no_proxy",
)
"""Of our environment: where packages come from is this machine's business."""


PATH = "/usr/local/bin:/wheels:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclass
class Stage:
    root: Path
    wheels: Path
    """What no registry has: mounted as /wheels."""
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    workdir: str = "/"
    user: str = "0:0"
    meta: dict[str, str] = field(default_factory=dict)
    """CMD, ENTRYPOINT, HEALTHCHECK, STOPSIGNAL, EXPOSE."""
    skipped: list[str] = field(default_factory=list)

    def path(self, inside: str) -> Path:
        return self.root / str(Path(self.workdir, inside)).lstrip("/")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in text.splitlines() if line.strip())
    ]


def can_build() -> str:
    """Why not, or ""."""
    if os.geteuid() != 0:
        return "building needs root, for chroot"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"unshare: {done.stderr.strip()}" if done.returncode else ""


class Build:
    """Of one Dockerfile. `context` is copied from; stages live below `folder`."""

    def __init__(self, context: Path, folder: Path, wheels: Path) -> None:
        self._context = context
        self._folder = folder
        self._wheels = wheels
        self._args: dict[str, str] = {}
        self.stages: dict[str, Stage] = {}

    def run(self) -> Stage:
        """The last stage."""
        stage = None
        for word, given in instructions(self._context / "Dockerfile"):
            rest = re.sub(r"\$\{(\w+)\}", lambda found: self._args.get(found[1], found[0]), given)
            if word == "ARG":
                name, _, value = rest.partition("=")
                self._args[name] = value
            elif word == "FROM":
                stage = self._from(rest)
            else:
                assert stage is not None
                self._do(stage, word, rest)
        assert stage is not None
        return stage

    def _from(self, rest: str) -> Stage:
        name = rest.split(" AS ")[1] if " AS " in rest else "final"
        self.stages[name] = stage = Stage(self._folder / name, self._wheels)
        for folder in (*SYSTEM, "tmp", "run", "proc", "dev", "wheels"):
            (stage.root / folder).mkdir(parents=True)
        stage.meta["FROM"] = rest
        return stage

    def _do(self, stage: Stage, word: str, rest: str) -> None:
        if word == "ENV":
            for pair in shlex.split(rest):
                name, _, value = pair.partition("=")
                stage.env[name] = value.replace("$PATH", stage.env["PATH"])
        elif word == "WORKDIR":
            stage.workdir = rest
            stage.path("").mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = rest
        elif word == "COPY":
            self._copy(stage, rest)
        elif word == "RUN":
            done = execute(stage, ["/bin/sh", "-ec", rest])
            assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"
        else:
            assert word in ("CMD", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"), word
            stage.meta[word] = rest

    def _copy(self, stage: Stage, rest: str) -> None:
        *sources, target = rest.split()
        origin = self._context
        if sources[0].startswith("--from="):
            other = self.stages[sources.pop(0).removeprefix("--from=")]
            if "uv" in other.meta["FROM"]:
                stage.skipped.append(rest)
                return
            origin = other.root
        ignored = shutil.ignore_patterns(*self._ignored()) if origin == self._context else None
        for source in sources:
            found, to = origin / source.lstrip("/"), stage.path(target)
            if found.is_dir():
                shutil.copytree(found, to, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy2(found, to / found.name if target.endswith("/") else to)

    def _ignored(self) -> list[str]:
        path = self._context / ".dockerignore"
        return [line.removeprefix("**/") for line in path.read_text().splitlines()] if path.exists() else []


def script(stage: Stage, *, pid_1: bool = False) -> list[str]:
    """A command that runs what follows it inside of the stage, as its user, at its working directory. As `pid_1` it is
    PID 1 of a namespace of its own, and finds what it serves read-only."""
    root = shlex.quote(str(stage.root))
    lines = [f"mount --rbind -o ro /{name} {root}/{name}" for name in SYSTEM]
    lines += [f"mount --bind -o ro {shlex.quote(sys.base_prefix)} {root}/usr/local"]
    lines += [f"mount --bind -o ro {shlex.quote(str(stage.wheels))} {root}/wheels"]
    lines += [f"mount --rbind /dev {root}/dev", f"mount -t proc proc {root}/proc"]
    if pid_1:
        for name in ("opt", "app"):
            lines += [f"mount --bind {root}/{name} {root}/{name}", f"mount -o remount,bind,ro {root}/{name}"]
    uid, gid = stage.user.split(":")
    user = f"/usr/bin/setpriv --reuid {uid} --regid {gid} --clear-groups --no-new-privs"
    lines += [f'exec chroot {root} {user} {shlex.join(environment(stage))} "$@"']
    namespaces = ["--mount", *(["--pid", "--fork", "--kill-child"] if pid_1 else [])]
    return ["unshare", *namespaces, "/bin/sh", "-ec", "; ".join(lines), "sh"]


def environment(stage: Stage) -> list[str]:
    """What sets the variables of the stage, and its working directory."""
    env = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)} | stage.env
    env["LD_LIBRARY_PATH"] = "/usr/local/lib"  # where our Python's library would be in its own image
    env["PIP_FIND_LINKS"] = env["UV_FIND_LINKS"] = "/wheels"
    return ["/usr/bin/env", "-i", "-C", stage.workdir, *(f"{name}={value}" for name, value in env.items())]


def execute(stage: Stage, command: list[str]) -> "subprocess.CompletedProcess[str]":
    return finished([*script(stage), *command])


def execute_beside(stage: Stage, pid: int, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """As `docker exec` does: in the namespaces of a process, as the stage's user."""
    uid, gid = stage.user.split(":")
    enter = ["nsenter", "-t", str(pid), "--mount", "--pid", "--root", "-S", uid, "-G", gid]
    return finished([*enter, *environment(stage), *command])


def finished(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL
    )


def exec_form(text: str) -> list[str]:
    """Of ENTRYPOINT, CMD and HEALTHCHECK. Raises ValueError for the shell form."""
    found: list[str] = json.loads(text[text.index("[") :])
    return found
