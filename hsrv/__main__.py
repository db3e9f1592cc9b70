"""The `hsrv` command, also as `python -m hsrv`."""

from hsrv.system.blockedsignals import block
from hsrv.system.standardfiles import open_missing

TYPE_CHECKING = False  # that of `typing`, which is not imported before the call
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main() -> None:
    """The entry point of the command."""
    block()  # before anything else: otherwise Ctrl-C interrupts an import, and HUP and TERM end it silently
    open_missing()
    import gc  # noqa: PLC0415  # after the call
    import sys  # noqa: PLC0415  # after the call

    from hsrv.system.importing import few_collections  # noqa: PLC0415  # after the call

    with few_collections():
        command = _command(sys.argv[1:])
    gc.freeze()  # later collections skip these objects
    sys.exit(command())


def _command(arguments: "Sequence[str]") -> "Callable[[], int | None]":
    """What the arguments ask for, with all that it takes imported."""
    if arguments and (arguments[0] == "start" or ":" in arguments[0]):
        from hsrv.options.arguments import lead_on, parse  # noqa: PLC0415  # when it is needed

        arguments = lead_on(arguments)
        given = parse(arguments[1:])
        if given is not None:
            from hsrv.system.importing import without  # noqa: PLC0415  # when it is needed

            with without(
                "rich"
            ):  # structlog takes longer to import it than itself, for what no supervisor uses
                from hsrv.starting import start_and_report  # noqa: PLC0415  # within the block

            return lambda: start_and_report(given.values, given.config_file)
    from hsrv import cli  # noqa: PLC0415  # when it is needed

    return lambda: cli.main(arguments)


if __name__ == "__main__":
    main()
