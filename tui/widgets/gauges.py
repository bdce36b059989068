"""GPU and host gauges: a few lines that are sent again only where a rounded value changed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.text import human_seconds
from tui.theme import Cells, fit
from tui.widgets.calm import Calm
from tui.widgets.line import cut
from tui.widgets.lines import LiveLines, width_of

if TYPE_CHECKING:
    from core.hardware import GpuReading, GpuSnapshot, HostSnapshot

HISTORY_SECONDS = 5.0  # a sparkline that moves costs 100 bytes: once in five seconds tells as much
HISTORY = 96
"""Marks of history that are kept: eight minutes."""
HOT = 84
"""°C from which a card is about to slow itself down."""
MANY, MANY_SECONDS = 4, 2.0
"""With more cards than this the numbers are drawn every other second: each costs 40 bytes over the line."""
FEW = 3
"""Cards that a narrow window shows one by one; of more, those of the run and a line for the rest."""
HIDDEN = "the memory is that of all: the driver does not tell whose it is (in a container)"
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
GIB = 2**30


def bar(parts: Sequence[tuple[float, str]], width: int) -> Cells:
    """A bar of `width` cells filled by (fraction, role) parts, exact to an eighth of a cell; the rest is dotted."""
    cells: Cells = []
    filled = 0
    total = 0.0
    for fraction, role in parts:
        total = min(1.0, total + max(0.0, fraction))
        eighths = round(total * width * 8)
        whole = eighths // 8 - filled
        if whole > 0:
            cells.append(("█" * whole, role))
            filled += whole
        last = role
    if parts and filled < width and eighths % 8:
        cells.append((_EIGHTHS[eighths % 8], last))
        filled += 1
    return [*cells, ("·" * (width - filled), "rule")]


def thin_bar(parts: Sequence[tuple[float, str]], width: int) -> Cells:
    """A bar of a single line's height, by (fraction, role) parts."""
    cells: Cells = []
    filled, total = 0, 0.0
    for fraction, role in parts:
        total = min(1.0, total + max(0.0, fraction))
        end = round(total * width)
        cells.append(("━" * (end - filled), role))
        filled = end
    return [*cells, ("─" * (width - filled), "rule")]


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Fractions as one mark each, the newest at the right; unknown ones are blank."""
    shown = list(values)[-width:] if width > 0 else []
    marks = [" " if value is None else _LEVELS[min(7, max(0, int(value * 7.999)))] for value in shown]
    return "".join(marks).rjust(max(0, width))


def number(value: float | None, unit: str = "", step: int = 1) -> str:
    """A reading rounded to `step` with its unit, or a dash."""
    return "–" if value is None else f"{step * round(value / step):.0f}{unit}"


def gib(value: float | None) -> str:
    """Bytes in GiB with one decimal, or a dash."""
    return "–" if value is None else f"{value / GIB:.1f}"


def short_name(name: str | None) -> str:
    """`RTX 4090` of `NVIDIA GeForce RTX 4090`."""
    text = name or "GPU"
    for word in ("NVIDIA ", "GeForce "):
        text = text.replace(word, "")
    return text


@dataclass(frozen=True, slots=True)
class Gauge:
    """One GPU as it is shown: the reading, what of its memory belongs to the run, and the last utilisations (0..1)."""

    gpu: GpuSnapshot
    own: int | None
    history: tuple[float | None, ...]

    @property
    def load_role(self) -> str:
        return "muted" if not self.gpu.utilization else "good"

    def memory_bar(self, width: int, *, thin: bool = False) -> Cells:
        """Own memory in the accent, that of others beside it; `thin` where bars lie below each other."""
        used, total = self.gpu.memory_used, self.gpu.memory_total
        if used is None or not total:
            return [("·" * width, "rule")]
        role = "caution" if used > 0.96 * total else "second"
        own = min(self.own or 0, used)
        if thin:
            return thin_bar([(own / total, "accent"), ((used - own) / total, role)], width)
        return bar([(own / total, "accent"), ((used - own) / total, role)] if own else [(used / total, role)], width)

    def heat(self) -> Cells:
        """Temperature, power and fan, in steps that do not flicker."""
        gpu = self.gpu
        hot = gpu.temperature is not None and gpu.temperature >= HOT
        cells: Cells = [(number(gpu.temperature), "bad" if hot else "text"), (" °C", "muted")]
        if gpu.power is not None:
            limit = f"/{gpu.power_limit:.0f}" if gpu.power_limit else ""
            cells += [("  ", "text"), (number(gpu.power, step=5), "text"), (f"{limit} W", "muted")]
        if gpu.fan is not None:
            cells += [("  fan ", "muted"), (number(gpu.fan, step=5), "text"), (" %", "muted")]
        return cells

    def clocks(self) -> Cells:
        """The clock of the cores, and why it is held down."""
        gpu = self.gpu
        cells: Cells = []
        if gpu.clock is not None:
            cells += [(f"{gpu.clock / 1000:.1f}", "text"), (" GHz", "muted")]
        if gpu.throttle:
            cells += [("  slowed: " if cells else "slowed: ", "caution"), (", ".join(gpu.throttle), "caution")]
        return cells

    def full(self, width: int) -> list[Cells]:
        """Three lines: load with its history, memory, heat; a fourth when the card is slowed down."""
        gpu = self.gpu
        label = f"GPU {gpu.index}"
        if gpu == type(gpu)(gpu.index):  # lost: what is below all says why
            return [[(f"{label:<7}", "muted"), ("– ", "text"), ("tells nothing", "caution")]]
        room = max(4, min(22, width - 7 - 7 - 12))
        name = fit(short_name(gpu.name), room)
        load = f"{number(gpu.utilization):>3} %"
        spark = sparkline(self.history, min(HISTORY, max(0, width - 7 - room - len(load) - 3)))
        first: Cells = [(f"{label:<7}", "muted"), (name, "text"), (f" {load}  ", "text"), (spark, self.load_role)]
        amount = f"{gib(gpu.memory_used)} / {gib(gpu.memory_total)} G"
        second: Cells = [(f"{'VRAM':<7}", "muted"), (fit(amount, max(14, room)), "text"), (" ", "text")]
        second += self.memory_bar(max(4, min(48, width - width_of(second))))
        third: Cells = [("       ", "text"), *self.heat()]
        ours: Cells = [("   ours ", "muted"), (gib(self.own), "accent"), (" G", "muted")] if self.own else []
        clocks = self.clocks()
        lines = [first, second, [*third, *ours]]
        if clocks and not gpu.throttle and width_of(lines[2]) + width_of(clocks) + 2 <= width:
            lines[2] = [*third, ("  ", "text"), *clocks, *ours]
        elif gpu.throttle:
            lines.append([("       ", "text"), *clocks])
        return [cut(line, width) for line in (*lines, *self.instances(width))]

    def instances(self, width: int) -> list[Cells]:
        """The MIG instances of the card, a line each."""
        lines = []
        for part in self.gpu.instances:
            used, total = part.memory_used, part.memory_total
            line: Cells = [
                (f"  {self.gpu.index}:{part.index}  ", "muted"),
                (fit(part.profile, 10), "text"),
                (" ", "text"),
            ]
            amount = f"{gib(used)}/{gib(total)} G"
            room = min(24, max(0, width - width_of(line) - len(amount) - 1))
            share = used / total if used is not None and total else 0.0
            line += [*thin_bar([(share, "second")], room), (f" {amount}", "text")]
            lines.append(cut(line, width))
        return lines

    def compact(self, width: int) -> Cells:
        """One line."""
        gpu = self.gpu
        line: Cells = [(f"GPU {gpu.index} ", "muted")]
        if width >= 64:
            line.append((fit(short_name(gpu.name), min(16, width // 6)) + " ", "text"))
        line += [(f"{number(gpu.utilization):>3} %", "text"), ("  ", "text")]
        total = gib(gpu.memory_total)  # the bars of several cards end at the same place
        amount: Cells = [(f" {gib(gpu.memory_used):>{len(total)}}/{total} G", "text")]
        tail = [("  ", "text"), *(self.heat() if width >= 56 else self.heat()[:2])] if width >= 44 else []
        if width >= 76 and self.own:
            tail += [("  ours ", "muted"), (gib(self.own), "accent"), (" G", "muted")]
        if gpu.throttle:
            tail += [("  slowed: " + ", ".join(gpu.throttle) if width >= 100 else " slowed", "caution")]
        elif width >= 90:
            tail += [("  ", "text"), *self.clocks()]
        room = min(24, width - width_of([*line, *amount, *tail]))
        if room < 6:
            tail, room = [], min(24, width - width_of([*line, *amount]))
        return cut([*line, *self.memory_bar(max(0, room), thin=True), *amount, *tail], width)

    def processes(self, width: int, limit: int) -> list[Cells]:
        """Who uses the card, the largest first; for the pane that has the whole screen."""
        found = [*self.gpu.processes, *(each for part in self.gpu.instances for each in part.processes)]
        lines: list[Cells] = []
        for each in found[: max(0, limit)]:
            amount = f"{gib(each.memory)} G"
            lines.append(
                [
                    ("       ", "text"),
                    (f"{amount:>8}", "text"),
                    (f"  {each.pid:<8}", "muted"),
                    (each.name or "?", "text"),
                ]
            )
        return [cut(line, width) for line in lines]


def _sum_line(gauges: Sequence[Gauge], width: int) -> Cells:
    """Several cards in one line: their mean load and their memory together."""
    loads = [gauge.gpu.utilization for gauge in gauges if gauge.gpu.utilization is not None]
    load = round(sum(loads) / len(loads)) if loads else None
    used = sum(gauge.gpu.memory_used or 0 for gauge in gauges)
    total = sum(gauge.gpu.memory_total or 0 for gauge in gauges)
    line: Cells = [(f"{f'+{len(gauges)} GPUs':<8}", "muted"), (f"{number(load):>3} %  ", "text")]
    line += [(f"{gib(used)}/{gib(total)} G", "text")]
    hottest = max((gauge.gpu.temperature or 0 for gauge in gauges), default=0)
    line += [(f"  up to {hottest} °C", "muted")] if hottest else []
    return cut(line, width)


def host_line(host: HostSnapshot, width: int, full_in: float | None = None) -> Cells:
    """CPU, memory and disk of the machine; `full_in`: seconds until the disk is full, at the pace of late."""
    used, total = host.memory_used, host.memory_total
    memory = "–" if used is None or not total else f"{used / GIB:.0f}/{total / GIB:.0f}"
    free = None if host.disk_free is None else host.disk_free / 1e9
    low = free is not None and free < 10
    disk = "–" if free is None else f"{free:.0f}" if free >= 10 else f"{free:.1f}"
    line: Cells = [
        (f"{'host':<7}", "muted"),
        *[("CPU ", "muted"), (f"{number(host.cpu_percent):>3}", "text"), (" %", "muted")],
        *[("  RAM ", "muted"), (memory, "text"), (" G", "muted")],
        *[("  disk ", "muted"), (disk, "bad" if low else "text")],
    ]
    if full_in is not None:
        soon: Cells = [(f"full in {human_seconds(full_in)}", "bad" if full_in < 3600 else "caution")]
        whole: Cells = [*line, (" G ", "muted"), *soon]
        if width_of(whole) <= width:
            return whole
        return cut([line[0], *line[4:], (" G ", "muted"), *soon], width)  # before the CPU's load
    return cut([*line, (" G free" if width >= 46 else " G", "muted")], width)


class Gauges(LiveLines, can_focus=True):
    """`update` once a second; lines that show the same are not sent.

    `few_lines`: a line a GPU. `whole`: the pane has the whole screen, and there is room for who uses the cards.
    """

    DEFAULT_CSS = "Gauges { height: auto; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.few_lines = False
        self.whole = False
        self._reading: GpuReading | None = None
        self._host: HostSnapshot | None = None
        self._own: Mapping[int, int] = {}
        self._full_in: float | None = None
        self._hidden = False
        self._history: dict[int, deque[float | None]] = {}
        self._sampled = 0.0
        self._drawn = 0.0
        self._calm = Calm()

    def update(
        self,
        reading: GpuReading | None,
        host: HostSnapshot | None,
        own: Mapping[int, int] | None = None,
        *,
        full_in: float | None = None,
        shares_hidden: bool = False,
    ) -> None:
        """Show a reading. `own`: GPU index → bytes that the shown run holds there.

        `shares_hidden`: a run goes, and the driver does not tell what of the memory is its own.
        """
        self._reading = None if reading is None else self._calm.gpus(reading)
        self._host, self._own = None if host is None else self._calm.host(host), own or {}
        self._full_in, self._hidden = full_in, shares_hidden
        now = time.monotonic()
        if reading is not None and now - self._sampled >= HISTORY_SECONDS - 0.5:
            self._sampled = now
            for gpu in reading.gpus:
                history = self._history.setdefault(gpu.index, deque(maxlen=HISTORY))
                history.append(None if gpu.utilization is None or reading.stale else gpu.utilization / 100)
        many = reading is not None and len(reading.gpus) > MANY
        if not many or now - self._drawn >= MANY_SECONDS - 0.5 or len(self._lines) <= 1:
            self.relayout()

    def relayout(self) -> None:
        """Build the lines for the present width."""
        self._drawn = time.monotonic()
        lines = self.build(self.size.width or 48)
        changed = len(lines) != len(self._lines)
        self.show(lines)
        if changed:
            self.refresh(layout=True)

    def on_resize(self) -> None:
        self.relayout()

    def on_focus(self) -> None:
        self.relayout()

    def on_blur(self) -> None:
        self.relayout()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return max(1, len(self._lines))

    def gauges(self) -> list[Gauge]:
        """The GPUs of the last reading with their history."""
        gpus = self._reading.gpus if self._reading is not None else ()
        return [Gauge(gpu, self._own.get(gpu.index), tuple(self._history.get(gpu.index, ()))) for gpu in gpus]

    def build(self, width: int) -> list[Cells]:
        """The lines for a width; one line a GPU when there are many or `few_lines` is set."""
        lines: list[Cells] = []
        gauges = self.gauges()
        if self.few_lines and len(gauges) > FEW:
            busiest = sorted(gauges, key=lambda each: (-(each.own or 0), each.gpu.index))[: FEW - 1]
            shown = sorted(busiest, key=lambda each: each.gpu.index)
            lines = [
                *(gauge.compact(width) for gauge in shown),
                _sum_line([g for g in gauges if g not in shown], width),
            ]
            gauges_shown: list[Gauge] = []
        else:
            gauges_shown = gauges
        for gauge in gauges_shown:
            if self.whole:
                room = max(2, 20 // len(gauges))
                lines += [*gauge.full(width), *gauge.processes(width, room), []]
            elif self.few_lines or len(gauges) > 2:
                lines.append(gauge.compact(width))
                lines += [] if self.few_lines else gauge.instances(width)
            else:
                lines += gauge.full(width)
        if not gauges and self._reading is not None:
            parts = wrapped(
                self._reading.message or "no NVIDIA GPU here", max(10, width - 7), 1 if self.few_lines else 3
            )
            lines += [[("GPU    " if part is parts[0] else "       ", "muted"), (part, "muted")] for part in parts]
        if gauges and self._reading is not None and self._reading.message:  # a driver that hangs: values are old
            lines += [[(part, "caution")] for part in wrapped(self._reading.message, width, 2)]
        if gauges and self._hidden and not self.few_lines:
            lines += [[("       ", "text"), (part, "muted")] for part in wrapped(HIDDEN, max(20, width - 7), 2)]
        if self._host is not None:
            lines.append(host_line(self._host, width, self._full_in))
        if self.has_focus and lines and lines[0]:
            lines[0] = [(lines[0][0][0], "accent bold"), *lines[0][1:]]
        return lines


def wrapped(text: str, width: int, limit: int) -> list[str]:
    """`text` in at most `limit` lines broken between words; what does not fit ends in `…`."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if len(longer) <= width:
            lines[-1] = longer
        elif len(lines) < limit:
            lines.append(word)
        else:
            lines[-1] = (
                fit(f"{lines[-1]} …", width).rstrip() if len(lines[-1]) + 2 <= width else lines[-1][: width - 1] + "…"
            )
            break
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]
