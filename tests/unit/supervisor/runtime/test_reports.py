"""The stream of reports."""

from structlog.testing import capture_logs

from hsrv.supervisor.plan.actions import Announce, LogLine, Report
from hsrv.supervisor.runtime.reports import Note, Stream


def test_every_listener_gets_every_report_in_order() -> None:
    stream = Stream()
    heard: list[tuple[str, Report]] = []
    for name in ("first", "second"):
        stream.listen(lambda report, name=name: heard.append((name, report)))  # type: ignore[misc]  # bound now
    reports = [Announce(1), Announce(2)]
    for report in reports:
        stream.tell(report)
    assert heard == [(name, report) for report in reports for name in ("first", "second")]


def test_only_lines_are_lines_of_the_log() -> None:
    stream = Stream()
    with capture_logs() as lines:
        stream.tell(LogLine("warning", "scaled", {"workers": 3}))
        stream.tell(Note("process hangs", "error"))
        stream.tell(Announce(1))
    assert lines == [{"event": "scaled", "log_level": "warning", "workers": 3}]
