"""A template whose children are stand-ins: they obey one command per line on their control socket."""

import json
import os
import signal
import sys
import time

from hsrv.child import template, templatemain
from hsrv.child.boot import ChildBoot
from hsrv.common.terms import Role
from hsrv.options.config import Config


def prepare(config: Config) -> None:
    """There is nothing to import."""


def main(boot: ChildBoot) -> int:
    """What a worker or pool is replaced by; ends when nobody commands any more."""
    boot.control.setblocking(True)
    for line in boot.control.makefile("r"):
        word, _, rest = line.strip().partition(" ")
        if word == "exit":
            return int(rest)
        if word == "raise":
            raise RuntimeError(rest)
        if word == "stay":
            boot.control.sendall(b"staying\n")
            time.sleep(60)
        if word == "facts":
            boot.control.sendall(json.dumps(facts(boot)).encode() + b"\n")
    return 0


def facts(boot: ChildBoot) -> dict[str, object]:
    return {
        "identity": list(boot.identity.__rich_repr__()),
        "app": boot.app.import_string if boot.app is not None else None,
        "urls": [info.url for info, _ in boot.listeners],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "wakeup": signal.set_wakeup_fd(-1),
        "channels": [c.fileno() >= 0 for c in (boot.handoff_send, boot.handoff_receive, boot.adopt_send)],
    }


if __name__ == "__main__":
    template.ROLES.update(dict.fromkeys((Role.WORKER, Role.POOL), "tests.unit.child.stand_in_template:main"))
    vars(template)["ORPHAN_MARGIN"] = 0.2
    sys.exit(templatemain.main())
