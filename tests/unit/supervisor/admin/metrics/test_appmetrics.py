"""What real processes count with prometheus-client, added up, also when they are gone."""

import os
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from hsrv.supervisor.admin.metrics import appmetrics, metricfiles
from hsrv.supervisor.admin.metrics.appmetrics import AppMetrics
from hsrv.supervisor.admin.metrics.exposition import render
from hsrv.supervisor.admin.metrics.metricfiles import FILE_LIMIT
from hsrv.supervisor.admin.metrics.metricsums import Sums

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


NOT_ALIVE = 4194303
"""A pid that no process has."""


def entry(key: bytes, size: int | None = None, value: float = 1.0) -> bytes:
    size = len(key) if size is None else size
    return struct.pack(f"i{len(key)}s", size, key).ljust((len(key) + 4) // 8 * 8 + 8) + struct.pack(
        "dd", value, 0.0
    )


def file_of(*found: bytes, used: int | None = None) -> bytes:
    data = b"".join(found)
    return struct.pack("ii", 8 + len(data) if used is None else used, 0) + data


def key(name: str) -> bytes:
    return f'["{name}", "{name}_total", {{}}, "help"]'.encode()


def sparse(path: Path, used: int) -> None:
    path.write_bytes(file_of(used=used))
    os.truncate(path, 2**31)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "sparse": (lambda path: sparse(path, 2**31 - 1), "more may be read"),
    "no bytes used": (lambda path: sparse(path, 7), "truncated, or not a file"),
    "less than it says": (
        lambda path: path.write_bytes(file_of(used=FILE_LIMIT)),
        "truncated, or not a file",
    ),
    "more than may be read": (
        lambda path: path.write_bytes(file_of(used=FILE_LIMIT + 8) + bytes(FILE_LIMIT)),
        "more may be read",
    ),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "can't be opened"),
    "a link to a file": (lambda path: path.symlink_to(path.parent / "theirs"), "can't be opened"),
    "a link that leads nowhere": (lambda path: path.symlink_to("nowhere"), "can't be opened"),
    "a FIFO": (os.mkfifo, "not a regular file"),
    "a directory": (lambda path: path.mkdir(), "not a regular file"),
    "keys that never end": (
        lambda path: path.write_bytes(file_of(entry(key("c")), entry(b"", -28))),
        "a key of a negative size",
    ),
    "a key longer than the file": (
        lambda path: path.write_bytes(file_of(entry(key("c"), 2**31 - 1))),
        "malformed",
    ),
    "half an entry": (lambda path: path.write_bytes(file_of(entry(key("c"))[:-8])), "malformed"),
    "a key of no text": (lambda path: path.write_bytes(file_of(entry(b"\xff" * 12))), "malformed"),
    "a key that is none": (
        lambda path: path.write_bytes(file_of(entry(key("c")), entry(b"[1, 2]"))),
        "an invalid key",
    ),
    "deeply nested": (lambda path: path.write_bytes(file_of(entry(b"[" * 100_000))), "an invalid key"),
}


@pytest.mark.parametrize("pid", [os.getpid(), NOT_ALIVE], ids=["of the living", "of the gone"])
@pytest.mark.parametrize(("make", "why"), BAD.values(), ids=BAD)
def test_whatever_is_no_such_file_is_left_out_alone_and_named_once(
    make: Callable[[Path], object], why: str, pid: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "theirs").write_bytes(file_of(entry(key("c"), value=100)))
    bad = tmp_path / f"counter_{pid}.db"
    (tmp_path / "counter_1.db").write_bytes(file_of(entry(key("c"))))
    (tmp_path / f"counter_{NOT_ALIVE - 1}.db").write_bytes(file_of(entry(key("c"), value=2)))
    make(bad)
    metrics = AppMetrics(tmp_path)
    tracemalloc.start()
    try:
        assert [values(metrics), values(metrics)] == [{"c_total": 3}] * 2
        assert tracemalloc.get_traced_memory()[1] < 4 * FILE_LIMIT
    finally:
        tracemalloc.stop()
    told = [line for line in capsys.readouterr().out.splitlines() if bad.name in line]
    assert len(told) == 1
    assert why in told[0]
    assert (tmp_path / "theirs").exists()


def test_all_files_together_have_a_limit_and_what_is_left_out_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file_of(entry(key("c")))
    monkeypatch.setattr(appmetrics, "SUM_LIMIT", 2 * len(data))
    for kind in ("counter", "gauge_sum", "summary"):
        (tmp_path / f"{kind}_{os.getpid()}.db").write_bytes(data)
    assert {one.type for one in AppMetrics(tmp_path).collect()} == {"counter", "gauge"}
    assert f"summary_{os.getpid()}.db" in capsys.readouterr().out


def test_there_is_a_limit_of_files_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appmetrics, "FILES_LIMIT", 2)
    metrics = AppMetrics(tmp_path)
    for kind in ("counter", "gauge_sum", "summary"):
        (tmp_path / f"{kind}_{os.getpid()}.db").write_bytes(file_of(entry(key("c"))))
    for _ in range(2):
        assert len(metrics.collect()) == 2
    assert capsys.readouterr().out.count("more than 2") == 1


def test_what_is_kept_of_the_gone_has_a_limit_and_known_series_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = AppMetrics(tmp_path)
    monkeypatch.setattr(appmetrics, "FILE_LIMIT", 8 + 2 * len(entry(key("a"))))
    for number in range(3):
        data = file_of(*(entry(key(name)) for name in "abc"))
        (tmp_path / f"counter_{NOT_ALIVE - number}.db").write_bytes(data)
    metrics.compact()
    monkeypatch.undo()
    assert values(metrics) == {"a_total": 3, "b_total": 3}
    assert "had more series than fit" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["counter_gone.db", "counter_gone.new"])
def test_what_stands_where_sums_are_kept_is_not_written_through(name: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (tmp_path / name).symlink_to(theirs)
    for pid in (1, NOT_ALIVE):
        (tmp_path / f"counter_{pid}.db").write_bytes(file_of(entry(key("c"))))
    assert values(AppMetrics(tmp_path)) == {"c_total": 2}
    assert theirs.read_bytes() == b"theirs"
    assert not (tmp_path / f"counter_{NOT_ALIVE}.db").exists()


def test_sums_that_cannot_be_kept_stay_in_the_files_they_are_in(tmp_path: Path) -> None:
    (tmp_path / "counter_gone.db").mkdir()
    for pid in (1, NOT_ALIVE):
        (tmp_path / f"counter_{pid}.db").write_bytes(file_of(entry(key("c"))))
    metrics = AppMetrics(tmp_path)
    for _ in range(2):
        assert values(metrics) == {"c_total": 2}


def test_the_sums_are_those_of_prometheus_client_itself(tmp_path: Path) -> None:
    with process(tmp_path, "1,5", "3"), process(tmp_path, "4", "2"):
        paths = sorted(tmp_path.glob("*.db"))
        theirs = list(MultiProcessCollector.merge([str(path) for path in paths]))
        sums = Sums()
        for path in paths:
            kind, _, pid = path.stem.rpartition("_")
            sums.add(kind, pid, metricfiles.entries(metricfiles.read(path), {}))
        ours = list(sums.families(lambda name, why: pytest.fail(f"{name}: {why}")))
    for openmetrics in (False, True):
        one, other = (render(found, openmetrics=openmetrics) for found in (ours, theirs))
        assert sorted(one.splitlines()) == sorted(other.splitlines())
    assert len(one.splitlines()) > 50
