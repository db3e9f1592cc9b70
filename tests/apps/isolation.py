"""What programs inherit that an application starts, without a word about descriptors: at import and in requests."""

import json
import os
import subprocess
import sys

from hsrv.common.asgi import Receive, Scope, Send

LISTING = """
import json, os
found = []
for fd in os.listdir("/proc/self/fd"):
    try:
        found.append((int(fd), os.readlink(f"/proc/self/fd/{fd}")))
    except FileNotFoundError:
        pass  # that of the listing
print(json.dumps(found))
"""


def inherited() -> dict[str, list[tuple[int, str]]]:
    """The descriptors of a new program, by the way in which it was started."""
    command = [sys.executable, "-c", LISTING]
    popen = subprocess.run(command, close_fds=False, stdout=subprocess.PIPE, check=True)
    return {"popen": json.loads(popen.stdout), "spawn": _spawned(command)}


def _spawned(command: list[str]) -> list[tuple[int, str]]:
    read, write = os.pipe()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as answer:
        found: list[tuple[int, str]] = json.load(answer)
    os.waitpid(pid, 0)
    return found


IMPORTED = inherited()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    answer = {"role": scope["extensions"]["hsrv"]["role"], "imported": IMPORTED, "now": inherited()}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
