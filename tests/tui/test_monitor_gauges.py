"""The gauges: what they say about GPUs and host, and that nothing is sent when nothing changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.hardware import GpuReading, GpuSnapshot, HostSnapshot
from tui.theme import Cells
from tui.widgets.gauges import Gauges, bar, sparkline
from tui.widgets.lines import changed_stretches, width_of

GIB = 1 << 30
BUSY = GpuSnapshot(0, "NVIDIA GeForce RTX 4090", "GPU-0", int(19.8 * GIB), 24 * GIB, 97, 71, 338.2, 450.0, 62)
HOST = HostSnapshot(12.3, 14 * GIB, 64 * GIB, 118_000_000_000, 500_000_000_000, 1.0)


def shown(reading: GpuReading, width: int, *, own: dict[int, int] | None = None, few: bool = False) -> list[str]:
    return ["".join(text for text, _ in line) for line in built(reading, width, own=own, few=few)]


def built(reading: GpuReading, width: int, *, own: dict[int, int] | None = None, few: bool = False) -> list[Cells]:
    gauges = Gauges()
    gauges.few_lines = few
    gauges.update(reading, HOST, own)
    return gauges.build(width)


def test_a_busy_gpu_has_three_lines_and_the_host_one() -> None:
    """Load, memory with a bar, heat and power with their limits, and what of the memory is ours."""
    text = shown(GpuReading((BUSY,)), 48, own={0: int(19.2 * GIB)})
    assert len(text) == 4
    assert "RTX 4090" in text[0]
    assert "97 %" in text[0]
    assert "19.8 / 24.0 G" in text[1]
    assert "█" in text[1]
    assert "71 °C" in text[2]
    assert "340/450 W" in text[2]
    assert "ours 19.2 G" in text[2]
    assert "CPU  12 %" in text[3]
    assert "14/64 G" in text[3]
    assert "118 G" in text[3]


@pytest.mark.parametrize("width", [36, 48, 60, 78, 118])
@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_no_line_is_wider_than_its_place(width: int, count: int) -> None:
    """At every width, with any number of GPUs, nothing is cut off by the edge."""
    gpus = tuple(replace(BUSY, index=index) for index in range(count))
    for few in (False, True):
        lines = built(GpuReading(gpus, None if gpus else "no driver"), width, own={0: GIB}, few=few)
        assert all(width_of(line) <= width for line in lines)


def test_eight_gpus_have_a_line_each() -> None:
    """A server with eight cards fits into nine lines."""
    gpus = tuple(replace(BUSY, index=index) for index in range(8))
    text = shown(GpuReading(gpus), 48)
    assert len(text) == 9
    assert [line.split()[1] for line in text[:8]] == [str(index) for index in range(8)]
    assert all("19.8/24.0 G" in line for line in text[:8])


def test_without_a_gpu_it_says_why_and_shows_the_rest() -> None:
    """A laptop gets a calm sentence and its host line, no error."""
    lines = built(GpuReading((), "No NVIDIA driver was found on this machine."), 48)
    text = " ".join("".join(text for line in lines for text, _ in line).split())
    assert "No NVIDIA driver was found on this machine." in text
    assert not any(role == "bad" for line in lines for _, role in line)
    assert "RAM" in text


def test_values_that_cannot_be_read_are_dashes() -> None:
    """A card that tells its name alone has dashes; one that is lost tells nothing, in one line."""
    text = shown(GpuReading((GpuSnapshot(0, "RTX 4090"), GpuSnapshot(1))), 48)
    assert "– %" in text[0]
    assert "– / – G" in text[1]
    assert "– °C" in text[2]
    assert text[3] == "GPU 1  – tells nothing"


def test_a_driver_that_hangs_is_told_beside_the_old_values() -> None:
    """The old values stay, with the sentence of the reading below them."""
    message = "The NVIDIA driver does not answer: these values are old."
    text = "\n".join(shown(GpuReading((BUSY,), message, stale=True), 48))
    assert "does not answer" in text
    assert "19.8" in text


def test_a_small_flicker_changes_no_cell() -> None:
    """Power that moves by a watt and memory by some megabytes give the same cells: no byte is sent."""
    other = replace(BUSY, power=341.0, memory_used=int(19.81 * GIB))
    before, after = built(GpuReading((BUSY,)), 48), built(GpuReading((other,)), 48)
    assert [changed_stretches(one, two, 48) for one, two in zip(before, after, strict=True)] == [[]] * 4


def test_bars_and_sparklines() -> None:
    """Full, empty and in between, exact to an eighth; unknown values leave a blank."""
    assert "".join(text for text, _ in bar([(1.0, "accent")], 8)) == "█" * 8
    assert "".join(text for text, _ in bar([(0.0, "accent")], 8)) == "·" * 8
    assert "".join(text for text, _ in bar([(0.5 + 1 / 64, "accent")], 8)) == "████▏···"
    assert "".join(text for text, _ in bar([(0.25, "accent"), (0.25, "second")], 8)) == "████····"
    assert sparkline([0.0, 1.0, None], 5) == "  ▁█ "


def test_a_change_in_the_middle_of_a_line_sends_only_that() -> None:
    """Two numbers far apart are two stretches, near ones of the same colour are one, wide characters stay whole."""
    one = [("step ", "muted"), ("100", "text"), (" " * 60, "text"), ("200", "text")]
    two = [("step ", "muted"), ("101", "text"), (" " * 60, "text"), ("209", "text")]
    assert changed_stretches(one, two, 80) == [(7, 1), (70, 1)]
    assert changed_stretches([("1 2", "text")], [("3 4", "text")], 10) == [(0, 3)]
    assert changed_stretches([("日本x", "text")], [("日x本", "text")], 10) == [(2, 3)]
