"""Who hears the reports: the log, the timeline, the counters and the operations. Others join (collectors, the service
manager, the admin address)."""

from hsrv.supervisor.operators.operations import Operations
from hsrv.supervisor.reports.tally import Tally
from hsrv.supervisor.reports.timeline import Timeline
from hsrv.supervisor.runtime.told import Stream


class Told:
    """Of one server."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.timeline = Timeline()
        self.tally = Tally()
        self.operations = Operations()
        for listener in (self.timeline.hear, self.tally.hear, self.operations.hear):
            self.stream.listen(listener)
