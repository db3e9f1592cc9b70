"""The listeners of the reports: the log, the timeline, the totals and the operations. Others are added (collectors, the
service manager, the admin address)."""

from hsrv.supervisor.operators.operations import Operations
from hsrv.supervisor.reports.timeline import Timeline
from hsrv.supervisor.reports.totals import ServerTotals
from hsrv.supervisor.runtime.reports import Stream


class ServerReports:
    """The reports of one server, and their listeners."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.timeline = Timeline()
        self.totals = ServerTotals()
        self.operations = Operations()
        for listener in (self.timeline.hear, self.totals.hear, self.operations.hear):
            self.stream.listen(listener)
