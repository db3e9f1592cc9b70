"""The process of a template: `python -m hsrv.templatemain FD`. FD is the template's end of its channel."""

import gc
import socket
import sys

from hsrv.importing import few_collections


def main() -> int:
    with few_collections():
        from hsrv.channel import Channel  # noqa: PLC0415  # within the block
        from hsrv.template import Template  # noqa: PLC0415  # within the block
    gc.freeze()  # no collection looks at it again

    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)  # what the application starts must not keep it open
    return Template(Channel(channel)).run()


if __name__ == "__main__":
    sys.exit(main())
