"""Files of prometheus-client: what is written can be read, and anything else is refused as a whole."""

import json
import os
import struct
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from hsrv.supervisor.admin.metrics.metricfiles import BadFile, Key, entries, read, size_of, write

NAME = json.dumps(["requests", "requests_total", {"path": "/é", "a": "b"}, "Requests."])
OTHER = json.dumps(["requests", "requests_total", {}, "Requests."])


def data_of(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack("i4x", 8 + len(body)) + body


def entry(key: bytes, value: float = 1.0) -> bytes:
    padded = key + b" " * (8 - (len(key) + 4) % 8)
    return struct.pack("i", len(key)) + padded + struct.pack("dd", value, 0.0)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    write({NAME: (2.5, 7.0), OTHER: (1.0, 0.0)}, path)
    found = entries(read(path), {})
    assert [(one.text, one.value, one.at) for one in found] == [(NAME, 2.5, 7.0), (OTHER, 1.0, 0.0)]
    assert found[0].key == Key("requests", "requests_total", (("a", "b"), ("path", "/é")), "Requests.")
    assert list(tmp_path.iterdir()) == [path], "no unfinished file stays"


def test_prometheus_client_reads_it_too(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    write({NAME: (2.5, 7.0)}, path)
    assert [found[:3] for found in MmapedDict.read_all_values_from_file(str(path))] == [(NAME, 2.5, 7.0)]


def test_its_size_is_that_of_the_entries(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    write({NAME: (2.5, 7.0), OTHER: (1.0, 0.0)}, path)
    assert path.stat().st_size == 8 + size_of(NAME) + size_of(OTHER)


def test_a_new_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    path.write_bytes(bytes(1 << 16))
    assert read(path) == b""


@pytest.mark.parametrize("used", [-1, 4, 10_000])
def test_a_number_of_used_bytes_that_cannot_be_is_refused(tmp_path: Path, used: int) -> None:
    path = tmp_path / "counter_1.db"
    path.write_bytes(struct.pack("i4x", used) + bytes(100))
    with pytest.raises(BadFile, match="truncated"):
        read(path)


def test_a_file_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    write({NAME: (1.0, 0.0)}, path)
    used = path.stat().st_size
    assert read(path, limit=used)
    with pytest.raises(BadFile, match="more may be read"):
        read(path, limit=used - 1)


def test_a_link_is_not_followed_and_a_fifo_does_not_block(tmp_path: Path) -> None:
    write({NAME: (1.0, 0.0)}, tmp_path / "counter_1.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "counter_1.db")
    os.mkfifo(tmp_path / "fifo.db")
    for name in ("link.db", "fifo.db"):
        with pytest.raises(BadFile):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.db")


@pytest.mark.parametrize(
    "data",
    [
        data_of(struct.pack("i", -8) + bytes(28)),
        data_of(entry(OTHER.encode())[:-1]),
        data_of(entry(b"\xff\xff")),
        data_of(entry(b"not json")),
        data_of(entry(b'["a", "b", {}]')),
        data_of(entry(b'["a", "b", {"l": 1}, "help"]')),
        data_of(entry(b'["a", "b", [], "help"]')),
        data_of(entry(OTHER.encode()), entry(b"[]")),
    ],
)
def test_a_malformed_entry_spoils_the_whole_file(data: bytes) -> None:
    with pytest.raises(BadFile, match="malformed"):
        entries(data, {})


def test_a_key_that_is_known_is_not_parsed_again() -> None:
    known = {OTHER: Key("known", "known", (), "")}
    assert entries(data_of(entry(OTHER.encode())), known)[0].key.family == "known"
