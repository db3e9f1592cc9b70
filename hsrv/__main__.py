"""The `hsrv` command, also as `python -m hsrv`."""

import gc

from hsrv.importing import few_collections


def main() -> None:
    """In a process of its own: what it imports for the command line stays."""
    with few_collections():
        from hsrv import cli  # noqa: PLC0415  # within the block
    gc.freeze()  # no collection looks at it again
    cli.main()


if __name__ == "__main__":
    main()
