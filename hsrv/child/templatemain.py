"""The process of a template: `python -m hsrv.child.templatemain FD LOG`. FD is the template's end of its channel, LOG
the descriptor through which the supervisor writes to standard error, -1 if it has none (`hsrv.logs.output`)."""

import gc
import os
import socket
import sys

from hsrv.system.importing import few_collections


def main() -> int:
    with few_collections():
        from hsrv.child.template import Template  # noqa: PLC0415  # within the block
        from hsrv.ipc.channel import Channel  # noqa: PLC0415  # within the block
        from hsrv.logs import logging, output  # noqa: PLC0415  # within the block
    gc.freeze()  # later collections skip these objects

    log = int(sys.argv[2])
    if log >= 0:
        os.set_inheritable(log, False)
    logging.inherit_writer(log)
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)  # child processes of the application must not keep it open
    code = Template(Channel(channel)).run()
    output.flush(last=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
