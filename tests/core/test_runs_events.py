"""TensorBoard events of the real trainer through our own reader."""

from __future__ import annotations

import json
import math
import shutil
import struct
from pathlib import Path

import pytest

from core.runs.events import EventFile, Scalar, find_events
from tests.core.runs_kit import RECORDINGS

FILES = sorted(find_events(RECORDINGS))
LONG = next(path for path in FILES if "sd15_long/" in str(path))


def recording_of(path: Path) -> Path:
    return RECORDINGS / path.relative_to(RECORDINGS).parts[0]


def grouped(scalars: list[Scalar]) -> dict[str, list[tuple[int, float, float]]]:
    found: dict[str, list[tuple[int, float, float]]] = {}
    for tag, step, value, wall_time in scalars:
        found.setdefault(tag, []).append((step, wall_time, value))
    return found


@pytest.mark.parametrize("path", FILES, ids=[recording_of(path).name for path in FILES])
def test_every_scalar_equals_that_of_tensorboards_own_reader(path: Path) -> None:
    """Tags, steps, times and values, NaN included."""
    truth = json.loads((recording_of(path) / "scalars.json").read_text())
    wanted = next(tags for name, tags in truth.items() if name.endswith(path.name))
    found = grouped(EventFile(path).read())
    assert found.keys() == wanted.keys()
    for tag, points in wanted.items():
        assert [step for step, _, _ in found[tag]] == [step for step, _, _ in points]
        for (_, wall, value), (_, wanted_wall, wanted_value) in zip(found[tag], points, strict=True):
            assert wall == pytest.approx(wanted_wall, abs=0.001)
            assert value == float(wanted_value) or (math.isnan(value) and wanted_value == "NaN")


def test_a_growing_file_gives_only_what_is_new(tmp_path: Path) -> None:
    """Written in pieces that end inside records: each scalar comes once, as soon as it is complete."""
    data = LONG.read_bytes()
    path = tmp_path / "events"
    reader = EventFile(path)
    assert reader.read() == []
    found: list[Scalar] = []
    for end in range(0, len(data), 997):
        path.write_bytes(data[:end])
        found += reader.read()
    path.write_bytes(data)
    found += reader.read()
    assert found == EventFile(LONG).read()
    assert reader.read() == []


def test_a_limit_reads_a_large_file_in_turns(tmp_path: Path) -> None:
    """The first look at a long training does not hold the caller."""
    path = tmp_path / "events"
    path.write_bytes(LONG.read_bytes() * 60)
    whole, reader = EventFile(path).read(), EventFile(path)
    first = reader.read(limit=1 << 20)
    assert 0 < len(first) < len(whole)
    assert first + reader.read() == whole


@pytest.mark.parametrize(
    "wrong", [struct.pack("<QI", 1 << 60, 0), struct.pack("<QI", 3, 0) + b"\x0b\xff\xff" + b"\0" * 4]
)
def test_damage_in_the_middle_costs_what_it_hit_and_no_more(tmp_path: Path, wrong: bytes) -> None:
    """Garbage between two halves: the points before and behind it are there, and the reader knows how much it was."""
    path = tmp_path / "events"
    path.write_bytes(LONG.read_bytes() + wrong + LONG.read_bytes())
    reader, whole = EventFile(path), EventFile(LONG).read()
    assert reader.read() == whole + whole
    assert reader.damaged == len(wrong)
    assert reader.read() == []


def test_a_file_cut_off_in_a_record_and_written_on_loses_that_record_only(tmp_path: Path) -> None:
    """The machine went down in the middle of a write; the resumed writer appended behind the half record."""
    path, data = tmp_path / "events", LONG.read_bytes()
    path.write_bytes(data[:-20] + data)
    reader, whole = EventFile(path), EventFile(LONG).read()
    found = reader.read()
    assert len(found) >= 2 * len(whole) - 2
    assert found[-1] == whole[-1]
    assert reader.damaged


def test_columns_of_a_long_file_are_what_reading_one_by_one_gives(tmp_path: Path) -> None:
    """Hundreds of epochs of the real trainer at once: the same points, whatever the chunk; new ones come after."""
    path = tmp_path / "events"
    path.write_bytes(LONG.read_bytes() * 40)
    truth: dict[str, list[tuple[int, float, float]]] = {}
    for tag, step, value, wall_time in EventFile(path).read():
        truth.setdefault(tag, []).append((step, value, wall_time))
    for limit in (None, 300_001):
        reader = EventFile(path)
        found: dict[str, list[tuple[int, float, float]]] = {}
        while part := reader.read_points(limit):
            for points in part:
                rows = zip(points.steps, points.values, points.times, strict=True)
                found.setdefault(points.tag, []).extend(rows)
        assert found == truth
    with path.open("ab") as stream:
        stream.write(LONG.read_bytes())
    assert sum(len(points.steps) for points in reader.read_points()) == len(EventFile(LONG).read())


def test_the_end_of_a_long_file_is_read_first(tmp_path: Path) -> None:
    """From any place in the middle of a record the reader finds the next one."""
    path = tmp_path / "events"
    path.write_bytes(LONG.read_bytes() * 40)
    truth = [scalar for scalar in EventFile(path).read() if scalar.tag == "loss/current"]
    for size in range(20_000, 20_070, 7):
        (current,) = (points for points in EventFile(path).end(size) if points.tag == "loss/current")
        assert list(current.steps) == [scalar.step for scalar in truth[-len(current.steps) :]]
        assert len(current.steps) > 80


def test_values_of_newer_writers_are_read(tmp_path: Path) -> None:
    """A scalar as a tensor (float or double), a negative step, several values in one event, unknown fields."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def value(tag: bytes, tensor: bytes) -> bytes:
        return field(1, field(1, tag) + field(9, b"meta") + field(8, tensor))

    single = b"\x08\x01" + field(5, struct.pack("<f", 0.5))
    double = b"\x08\x02" + field(4, struct.pack("<d", 0.25))
    summary = field(5, value(b"a", single) + value(b"b", double))
    step = b"\x10" + b"\xff" * 9 + b"\x01"
    event = b"\x09" + struct.pack("<d", 12.5) + step + field(3, b"file version") + b"\x78\x05" + summary
    path = tmp_path / "events"
    path.write_bytes(struct.pack("<QI", len(event), 0) + event + b"\0" * 4)
    assert EventFile(path).read() == [Scalar("a", -1, 0.5, 12.5), Scalar("b", -1, 0.25, 12.5)]


def test_event_files_are_found_wherever_the_trainer_puts_them(tmp_path: Path) -> None:
    """<logs>/<prefix><time>/network_train/events.out.tfevents.<unix>…, oldest first; nothing where there is none."""
    assert find_events(tmp_path / "logs") == []
    for folder, name in (
        ("b20261122", "events.out.tfevents.2.host.1.0"),
        ("a20261122", "events.out.tfevents.10.host.1.0"),
    ):
        target = tmp_path / "logs" / folder / "network_train" / name
        target.parent.mkdir(parents=True)
        shutil.copy(LONG, target)
    (tmp_path / "logs" / "other.txt").touch()
    assert [path.name.split(".")[3] for path in find_events(tmp_path / "logs")] == ["2", "10"]
