"""The `hsrv` command, also as `python -m hsrv`."""

from hsrv.system.held import hold
from hsrv.system.standardfiles import open_missing


def main() -> None:
    """In a process of its own: what it imports for the command line stays."""
    hold()  # before anything else: else Ctrl-C ends it amid an import, and HUP and TERM without a word
    open_missing()
    import gc  # noqa: PLC0415  # after the call

    from hsrv.system.importing import few_collections  # noqa: PLC0415  # after the call

    with few_collections():
        from hsrv import cli  # noqa: PLC0415  # within the block
    gc.freeze()  # no collection looks at it again
    cli.main()


if __name__ == "__main__":
    main()
