"""The `hsrv` command, also as `python -m hsrv`."""

from hsrv.system.blockedsignals import block
from hsrv.system.standardfiles import open_missing


def main() -> None:
    """The entry point of the command."""
    block()  # before anything else: otherwise Ctrl-C interrupts an import, and HUP and TERM end it silently
    open_missing()
    import gc  # noqa: PLC0415  # after the call

    from hsrv.system.importing import few_collections  # noqa: PLC0415  # after the call

    with few_collections():
        from hsrv import cli  # noqa: PLC0415  # within the block
    gc.freeze()  # later collections skip these objects
    cli.main()


if __name__ == "__main__":
    main()
