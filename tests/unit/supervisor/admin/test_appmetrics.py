"""What real processes count with prometheus-client, added up, also when they are gone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hsrv.supervisor.admin import appmetrics
from hsrv.supervisor.admin.appmetrics import AppMetrics
from hsrv.supervisor.admin.exposition import render

COUNTS = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram, Summary
c = Counter("c", "c", ["l"])
h = Histogram("h", "h", buckets=(1, 2))
s = Summary("s", "s")
modes = [live + mode for mode in ("all", "sum", "max", "min", "mostrecent") for live in ("", "live")]
gauges = {mode: Gauge("g_" + mode, "g", multiprocess_mode=mode) for mode in modes}

def count(n):
    c.labels("x").inc(n); h.observe(0.5); h.observe(1.5); s.observe(n)
    for gauge in gauges.values():
        gauge.set(n)

for n in map(int, sys.argv[1].split(",")):
    pid = os.fork()
    if pid == 0:
        count(n)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
if sys.argv[2]:
    count(int(sys.argv[2]))
    print("counted", flush=True)
    sys.stdin.read()
"""


@contextmanager
def process(folder: Path, killed: str, living: str) -> Iterator[None]:
    """One that forks others, which count as much as `killed` says and are killed; then it counts itself and lives."""
    with subprocess.Popen(
        [sys.executable, "-c", COUNTS, killed, living],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as one:
        assert one.stdout is not None
        assert one.stdin is not None
        assert one.stdout.readline() == (b"counted\n" if living else b"")
        yield
        one.stdin.close()
        assert one.wait(20) == 0


def values(metrics: AppMetrics) -> dict[str, float]:
    """Without the labels, summed up."""
    found: dict[str, float] = {}
    for family in metrics.collect():
        for sample in family.samples:
            name = sample.name + (f"<={sample.labels['le']}" if "le" in sample.labels else "")
            found[name] = found.get(name, 0) + sample.value
    return found


def test_the_dead_stay_in_sums_and_leave_what_only_the_living_have(tmp_path: Path) -> None:
    metrics = AppMetrics(tmp_path)
    with process(tmp_path, "1,5", "3"):
        found = values(metrics)
    assert found["c_total"] == 9
    assert {name: found[name] for name in found if name.startswith(("h", "s"))} == {
        "h_count": 6,
        "h_sum": 6,
        "h_bucket<=1.0": 3,
        "h_bucket<=2.0": 6,
        "h_bucket<=+Inf": 6,
        "s_count": 3,
        "s_sum": 9,
    }
    assert {name: found[name] for name in found if name.startswith("g_")} == {
        "g_all": 9,
        "g_liveall": 3,
        "g_sum": 9,
        "g_livesum": 3,
        "g_max": 5,
        "g_livemax": 3,
        "g_min": 1,
        "g_livemin": 3,
        "g_mostrecent": 3,
        "g_livemostrecent": 3,
    }


def test_the_sums_are_the_same_however_often_they_are_put_together(tmp_path: Path) -> None:
    metrics = AppMetrics(tmp_path)
    for _ in range(3):
        with process(tmp_path, "1,2", ""):
            pass
        metrics.compact()
    metrics.compact()
    found = values(metrics)
    assert (found["c_total"], found["h_count"], found["s_sum"], found["g_max"]) == (9, 12, 9, 2)
    names = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("gauge_all"))
    assert names == [
        f"{kind}_gone.db"
        for kind in (
            "counter",
            "gauge_max",
            "gauge_min",
            "gauge_mostrecent",
            "gauge_sum",
            "histogram",
            "summary",
        )
    ]


def test_gauges_of_each_dead_process_are_kept_of_the_last_few_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appmetrics, "KEPT", 2)
    metrics = AppMetrics(tmp_path)
    with process(tmp_path, "1,2,3,4,5", ""):
        pass
    assert values(metrics)["g_all"] == 9
    assert len(list(tmp_path.glob("gauge_all_*"))) == 2


def test_a_file_that_is_broken_or_just_begun_costs_no_other(tmp_path: Path) -> None:
    metrics = AppMetrics(tmp_path)
    with process(tmp_path, "1", "2"):
        (tmp_path / f"counter_{os.getpid()}.db").write_bytes(b"")
        (tmp_path / f"histogram_{os.getpid()}.db").write_bytes(
            b"\x40\0\0\0\0\0\0\0\xff\xff\xff\x7f" + b"x" * 52
        )
        (tmp_path / "summary_4194303.db").write_bytes(b"\x40\0\0\0\0\0\0\0\xff\xff\xff\x7f" + b"x" * 52)
        found = values(metrics)
    assert (found["c_total"], found["h_count"], found["s_sum"]) == (3, 4, 3)


def test_what_is_collected_can_be_shown_in_both_formats(tmp_path: Path) -> None:
    metrics = AppMetrics(tmp_path)
    with process(tmp_path, "1", "2"):
        for openmetrics in (False, True):
            assert b'c_total{l="x"} 3.0' in render(metrics.collect(), openmetrics=openmetrics)


def test_many_dead_take_no_more_room_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appmetrics, "KEPT", 1)
    metrics = AppMetrics(tmp_path)
    with process(tmp_path, ",".join(["1"] * 30), ""):
        pass
    assert len(list(tmp_path.iterdir())) > 30 * 10
    assert values(metrics)["c_total"] == 30
    assert len(list(tmp_path.iterdir())) == 8
