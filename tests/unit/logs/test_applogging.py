"""What applications do with `logging`: each in a process of its own, whose root logger it changes, forked from one that
has imported everything."""

import json
import subprocess
import sys
from typing import Any

import pytest

PRELUDE = """
import logging, logging.config, sys
from hsrv.common.terms import Identity, Role
from hsrv.ipc.messages import Trace
from hsrv.logs.accesslog import AccessLog, AccessRecord
from hsrv.logs.logging import get_logger, setup
from hsrv.options.config import Config

config = Config(log_format="json")
setup(config, Identity(Role.WORKER, 1, 1))
own = get_logger("hsrv.http")

def ask(target="/"):
    AccessLog(config).log(AccessRecord(method="GET", target=target.encode(), http_version="1.1", status=200,
        body_bytes=2, duration=0.1, client=("::1", 5), headers=[], trace=Trace(request_id="r"), kind="http"))
"""


FORK = """
import os
for number, body in enumerate(json.load(sys.stdin)):
    if not os.fork():
        for fd in (1, 2):
            os.dup2(os.open(f"{sys.argv[1]}/{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), fd)
        exec(body)
        os._exit(0)
    assert os.wait()[1] == 0, body
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each case writes to standard output and error."""
    folder = tmp_path_factory.mktemp("written")
    bodies = {**{case: body for case, (body, _) in CASES.items()}, "raises": RAISES, "fields": FIELDS}
    subprocess.run(
        [sys.executable, "-c", f"import json\n{PRELUDE}{FORK}", str(folder)],
        input=json.dumps(list(bodies.values())),
        text=True,
        timeout=60,
        check=True,
    )
    return {case: (folder / str(number)).read_text().splitlines() for number, case in enumerate(bodies)}


def events(lines: list[str]) -> list[str]:
    """The events of JSON lines, and other lines as they are."""
    return [json.loads(line)["event"] if line.startswith("{") else line for line in lines]


CASES: dict[str, tuple[str, list[str]]] = {
    "a level by basicConfig": (
        "logging.basicConfig(level=logging.DEBUG)\nlogging.getLogger('shop').debug('hello')",
        ["hello"],
    ),
    "a format by basicConfig": (
        (
            "logging.basicConfig(format='%(levelname)s|%(message)s')\nlogging.getLogger('shop').warning('hello')\n"
            "own.info('still here')"
        ),
        ["WARNING|hello", "still here"],
    ),
    "basicConfig when it has an own handler": (
        (
            "logging.getLogger().addHandler(logging.NullHandler())\nlogging.basicConfig(format='%(message)s')\n"
            "logging.getLogger('shop').warning('hello')"
        ),
        ["hello"],
    ),
    "force": (
        "logging.basicConfig(format='mine %(message)s', force=True)\nlogging.getLogger('shop').warning('hello')",
        ["mine hello"],
    ),
    "a console handler of a named logger": (
        (
            "shop = logging.getLogger('shop')\nshop.addHandler(logging.StreamHandler())\nshop.warning('hello')\n"
            "logging.getLogger('shop.cart').warning('deeper')\nlogging.getLogger('other').warning('other')"
        ),
        ["hello", "deeper", "other"],
    ),
    "a console handler of the root logger": (
        "logging.getLogger().addHandler(logging.StreamHandler(sys.stdout))\nlogging.warning('hello')",
        ["hello"],
    ),
    "a console handler for other levels": (
        (
            "handler = logging.StreamHandler()\nhandler.setLevel('ERROR')\n"
            "logging.getLogger('shop').addHandler(handler)\n"
            "logging.getLogger('shop').warning('hello')"
        ),
        ["hello"],
    ),
    "a console handler whose filter says no, as Django's in production": (
        (
            "handler = logging.StreamHandler()\nhandler.addFilter(lambda record: False)\n"
            "logging.getLogger('django').addHandler(handler)\nlogging.getLogger('django.request').error('hello')"
        ),
        ["hello"],
    ),
    "a handler that is no console": (
        (
            "logging.getLogger('shop').addHandler(logging.FileHandler('/dev/null'))\n"
            "logging.getLogger('shop').warning('hello')"
        ),
        ["hello"],
    ),
    "Django's defaults in development": (
        (
            "from django.conf import settings\nimport django\nsettings.configure(DEBUG=True)\ndjango.setup()\n"
            "logging.getLogger('django.request').error('hello')\nlogging.getLogger('shop').warning('other')"
        ),
        ["hello", "other"],
    ),
    "Django's defaults in production": (
        (
            "from django.conf import settings\nimport django\nsettings.configure()\ndjango.setup()\n"
            "logging.getLogger('django.request').error('hello')"
        ),
        ["hello"],
    ),
    "a library's NullHandler": (
        "logging.getLogger('lib').addHandler(logging.NullHandler())\nlogging.getLogger('lib').warning('hello')",
        ["hello"],
    ),
    "a module that logs to the root logger": ("logging.error('one')\nlogging.error('two')", ["one", "two"]),
    "dictConfig with a console": (
        (
            "logging.config.dictConfig({'version': 1, 'formatters': {'f': {'format': 'mine %(message)s'}}, 'handlers': "
            "{'c': {'class': 'logging.StreamHandler', 'formatter': 'f'}}, 'root': {'handlers': ['c']}})\n"
            "logging.getLogger('shop').warning('hello')\nown.info('still here')\nask()"
        ),
        ["mine hello", "still here", "request"],
    ),
    "a level of the access log": (
        "logging.getLogger('hsrv.access').setLevel('WARNING')\nask()\nown.info('x')",
        ["x"],
    ),
    "a level of hsrv": (
        "logging.getLogger('hsrv').setLevel('ERROR')\nask()\nown.info('x')\nown.error('y')",
        ["y"],
    ),
    "a filter of the access log, written for uvicorn": (
        (
            "logging.getLogger('hsrv.access').addFilter(lambda record: record.args[2] != '/healthz')\n"
            "ask('/healthz')\nask('/shop')"
        ),
        ["request"],
    ),
    "a filter by the message": (
        (
            "logging.getLogger('hsrv').addFilter(lambda record: '/healthz' not in record.getMessage())\n"
            "ask('/healthz')\nask('/shop')\nown.info('x')"
        ),
        ["request", "x"],
    ),
    "a console handler of the access log": (
        "logging.getLogger('hsrv.access').addHandler(logging.StreamHandler())\nask('/a?b=1')\nown.info('x')",
        ['::1:5 - "GET /a?b=1 HTTP/1.1" 200', "x"],
    ),
    "a console handler of hsrv": (
        (
            "handler = logging.StreamHandler()\n"
            "handler.setFormatter(logging.Formatter('%(name)s %(levelname)s %(message)s %(role)s'))\n"
            "logging.getLogger('hsrv').addHandler(handler)\nown.warning('x', size=1)"
        ),
        ["hsrv.http WARNING x worker"],
    ),
    "an access log that goes elsewhere only": (
        (
            "access = logging.getLogger('hsrv.access')\naccess.addHandler(logging.FileHandler('/dev/null'))\n"
            "access.propagate = False\nask()\nown.info('x')"
        ),
        ["x"],
    ),
    "an access log that goes elsewhere, too": (
        "logging.getLogger('hsrv.access').addHandler(logging.FileHandler('/dev/null'))\nask()",
        ["request"],
    ),
    "a dictConfig that disables what exists": (
        "logging.getLogger('hsrv.http')\nlogging.config.dictConfig({'version': 1})\nown.info('x')\nask()",
        ["x", "request"],
    ),
}


RAISES = """
def wrong(record):
    raise KeyError(record.name)
logging.getLogger("hsrv").addFilter(wrong)
logging.getLogger("shop").addHandler(logging.StreamHandler())
logging.getLogger("shop").handlers[0].addFilter(wrong)
own.error("x", exc_info=ValueError("y"))
ask()
"""
FIELDS = """
class Kept(logging.Handler):
    def emit(self, record):
        import json
        print(json.dumps({"text": self.format(record), "size": getattr(record, "size", None), "pid": record.pid,
            "status": getattr(record, "status", None), "name": record.name}), flush=True)
logging.getLogger("hsrv").addHandler(Kept())
logging.getLogger("hsrv").propagate = False
own.error("x", size=1, exc_info=ValueError("y"))
ask()
"""


@pytest.mark.parametrize("case", CASES)
def test_it_has_the_effect_that_it_has_elsewhere_and_nothing_appears_twice(
    written: dict[str, list[str]], case: str
) -> None:
    assert events(written[case]) == CASES[case][1]


def test_a_filter_that_raises_costs_no_line(written: dict[str, list[str]]) -> None:
    assert set(events(written["raises"])) >= {"log call failed", "x", "request"}


def test_own_lines_carry_their_fields_and_the_error_as_records_do(written: dict[str, list[str]]) -> None:
    found: list[dict[str, Any]] = [json.loads(line) for line in written["fields"]]
    assert [one["name"] for one in found] == ["hsrv.http", "hsrv.access"]
    assert found[0]["text"] == "x\nValueError: y"
    assert (found[0]["size"], found[1]["status"]) == (1, 200)
    assert found[0]["pid"] > 0
