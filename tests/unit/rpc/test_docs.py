"""The page about the operator's socket is what the table of methods says."""

from pathlib import Path

import msgspec

from hsrv.rpc import methods, operator
from hsrv.rpc.docs import render

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "control.md"


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == render(), "run: python -m hsrv.rpc.docs > docs/control.md"


def test_every_method_and_field_is_on_the_page() -> None:
    page = render()
    for method in operator.METHODS:
        assert f"| `{method.name}` |" in page
        for kind in (method.params, method.result):
            for field in msgspec.structs.fields(kind):
                assert f"| `{field.name}` |" in page


def test_the_shape_of_a_status_changes_only_with_its_version() -> None:
    """Fields may be added to this list; a removal or renaming needs a new STATUS_VERSION."""
    assert operator.STATUS_VERSION == 1
    promised: dict[type[msgspec.Struct], str] = {
        operator.ServerStatus: "status_version hsrv python pid app started_at uptime phase ready not_ready_because "
        "workers pools log_level listeners generations",
        operator.GenerationStatus: "number state reload_id template_pid processes",
        operator.ProcessStatus: "name role slot generation pid state leader age rss pss cpu_seconds cpu_percent "
        "answers report deadline",
        operator.ListenerStatus: "url waiting backlog",
        methods.ChildReport: "running oldest streams connections idle waiting handoffs_sent handoffs_received adopted "
        "undecodable accepted ended",
        methods.Running: "kind state method path client request_id seconds",
    }
    for kind, names in promised.items():
        assert set(names.split()) <= {field.name for field in msgspec.structs.fields(kind)}
