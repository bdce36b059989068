"""What the Monitor screen says about a run, as lines: pure functions of a snapshot, a width and the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import Problem, Severity
from core.runs.pace import has_stalled
from core.text import human_age, human_bytes, human_gib, human_seconds, printable
from tui.theme import Cells
from tui.widgets.chart import Marks
from tui.widgets.gauges import wrapped
from tui.widgets.line import cut, spread
from tui.widgets.lines import width_of
from tui.widgets.run_list import GLYPHS, lasted

if TYPE_CHECKING:
    from core.runs.artifacts import Checkpoint, SampleImage
    from core.runs.lineage import Part
    from core.runs.model import Run
    from core.runs.watch import RunSnapshot
    from tui.screens.monitor_hardware import HardwareNews

ENDED = frozenset({"finished", "failed", "stopped", "lost"})
_PHASES = {
    "starting": "starting",
    "dataset": "reading the dataset",
    "model": "loading the model",
    "caching": "caching latents",
    "caching-text": "caching text encoder outputs",
    "network": "building the network",
    "sampling": "sampling",
    "validating": "validating",
    "saving": "saving",
}
"""Phases that are worth a word; training is what the rest of the line says."""
_COUNTED = frozenset({"caching", "caching-text", "validating", "dataset"})
LONG_PHASE = 10.0
"""Seconds after which it is said how long a phase lasts."""


def is_tagging(run: Run) -> bool:
    """Is it a tag run (images instead of steps, no chart)?"""
    return run.spec.kind.value == "tag"


def is_stalled(snapshot: RunSnapshot, hardware: HardwareNews | None) -> bool:
    """Whether a live training stands still: nothing new for minutes, and its cards do nothing."""
    if not snapshot.run.live or is_tagging(snapshot.run):
        return False
    usual = 1 / snapshot.rate if snapshot.rate else None
    works = hardware.utilization if hardware is not None else None
    return has_stalled(snapshot.quiet_seconds, works, usual, snapshot.run.spec.alerts)


def stall_problem(snapshot: RunSnapshot) -> Problem:
    """For the list of problems."""
    return Problem(
        Severity.WARNING,
        "KT517",
        snapshot.run.id,
        f"has made no progress for {_minutes(snapshot.quiet_seconds)}, and its GPU does nothing",
        "Look at the end of its log. Loading a large model from a slow disk is silent, too; else stop it and continue.",
    )


def _minutes(seconds: float | None) -> str:
    """`6m`, `2h 05m`: no seconds, which would be drawn anew all the time."""
    minutes = int((seconds or 0) // 60)
    return f"{minutes // 60}h {minutes % 60:02}m" if minutes >= 60 else f"{minutes}m"


def head_line(snapshot: RunSnapshot, width: int, now: float, failed: int = 0, *, stalled: bool = False) -> Cells:
    """State, name, progress, rate and time left; the least important parts go first when there is no room."""
    run = snapshot.run
    state = str(run.state)
    glyph, role = GLYPHS.get(state, ("·", "muted"))
    ended = state in ENDED
    # (importance, cells): 0 is never left out
    parts: list[tuple[int, Cells]] = [
        (0, [(f" {glyph} ", role), (printable(run.spec.name), "text bold")]),
        (1 if ended else 4, [(state, role if ended else "muted")]),
    ]
    phase = _PHASES.get(snapshot.phase or "")
    if run.live and phase and not is_tagging(run):
        parts.append((1, [(phase, "second"), *part_cells(snapshot)]))
        if (since := snapshot.phase_since) is not None and now - since >= LONG_PHASE:
            parts.append((4, [("for ", "muted"), (human_seconds(round(now - since, -1)), "text")]))
    if is_tagging(run):
        if snapshot.total_steps:
            parts.append((1, [("images ", "muted"), (f"{snapshot.step or 0:,}/{snapshot.total_steps:,}", "text")]))
        if snapshot.rate and not ended:
            parts.append((3, [(f"{snapshot.rate:,.3g}", "text"), (" img/s", "muted")]))
        if failed:
            parts.append((2, [(f"{failed} failed", "bad")]))
    else:
        if snapshot.epoch is not None and snapshot.epochs:
            parts.append((3, [("epoch ", "muted"), (f"{snapshot.epoch}/{snapshot.epochs}", "text")]))
        if snapshot.total_steps:
            parts.append((1, [("step ", "muted"), (f"{snapshot.step or 0:,}/{snapshot.total_steps:,}", "text")]))
        if run.spec.resumed_from is not None and width >= 100:
            parts.append((6, [(f"from epoch {snapshot.first_epoch}", "muted")]))
        if snapshot.rate and not ended:
            parts.append((5, rate_cells(snapshot.rate)))
    if ended:
        seconds = lasted(run, now)
        if seconds is not None:
            parts.append((4, [("took ", "muted"), (human_seconds(seconds), "text")]))
        if snapshot.peak_vram:
            parts.append((6, [("VRAM ", "muted"), (f"{human_gib(snapshot.peak_vram)}G", "text")]))
        if run.status.ended is not None:
            parts.append((5, [(human_age(max(0.0, now - run.status.ended)), "muted")]))
    elif (left := snapshot.eta_seconds) is not None and state != "stopping" and snapshot.phase != "sampling":
        parts.append((2, [(human_seconds(left), "text"), (" left", "muted")]))
    right: Cells = []
    if stalled:
        right = [(f"stalled: nothing for {_minutes(snapshot.quiet_seconds)} ", "bad")]
    elif run.status.stop_after_checkpoint and not ended:
        right = [("stops after the next checkpoint ", "caution")]
    elif run.unsupervised:
        right = [("unsupervised ", "caution")]
    elif run.live and run.status.pid is not None:
        right = [(f"pid {run.status.pid} · detached ", "muted")]
    elif run.place is not None:
        right = [(f"number {run.place.position} of the queue ", "muted")]
    while True:
        line: Cells = []
        for _, cells in parts:
            line += [("   " if line and width >= 90 else "  ", "text")] * bool(line) + cells
        if width_of(line) + width_of(right) + 2 <= width:
            return spread(line, right, width)
        if right and right[0][1] == "muted":
            right = []
            continue
        worst = max(importance for importance, _ in parts)
        if worst == 0:
            return spread(line, [], width)
        parts = [part for part in parts if part[0] != worst]


def part_cells(snapshot: RunSnapshot) -> Cells:
    """` 2/4` behind the word for sampling, ` 31/84` behind that for caching, as far as the log tells."""
    if snapshot.sample is not None:
        number, of = snapshot.sample
        return [(f" {number}/{of}" if of else f" {number}", "text")]
    if snapshot.part is not None and snapshot.phase in _COUNTED:
        return [(f" {snapshot.part[0]:,}/{snapshot.part[1]:,}", "text")]
    return []


def rate_cells(rate: float) -> Cells:
    """`1.42 it/s`, or `3.1 s/it` when a step takes longer than a second."""
    if rate >= 1:
        return [(f"{rate:.3g}", "text"), (" it/s", "muted")]
    return [(f"{1 / rate:.3g}", "text"), (" s/it", "muted")]


def progress_line(snapshot: RunSnapshot, width: int) -> Cells:
    """A thin bar over the whole width with the percentage behind it."""
    total = snapshot.total_steps
    if not total:
        return [(" " + "─" * max(0, width - 2), "rule")]
    part = min(1.0, (snapshot.step or 0) / total)
    label = f" {int(100 * part):>3} % "
    room = max(0, width - 1 - len(label))
    filled = round(part * room)
    state = str(snapshot.run.state)
    role = {"failed": "bad", "finished": "good", "stopped": "muted", "lost": "caution"}.get(state, "accent")
    return [(" ", "text"), ("━" * filled, role), ("─" * (room - filled), "rule"), (label, "muted")]


def reason_lines(snapshot: RunSnapshot, width: int, *, states: int = 0) -> list[Cells]:
    """Why the run ended so, what else is wrong, and what can be done now."""
    state = str(snapshot.run.state)
    lines: list[Cells] = []
    if snapshot.reason and state in ENDED:
        role = {"failed": "bad", "lost": "caution"}.get(state, "muted")
        lines += [[(" " + part, role)] for part in wrapped(printable(snapshot.reason), width - 2, 3)]
    for problem in snapshot.problems[:2] if state not in ENDED else ():
        if problem.code == "KT513":  # said with the images that failed
            continue
        text = problem.message
        text = f"This run {text}" if text.startswith(("is ", "has ")) else text[:1].upper() + text[1:]
        role = "bad" if problem.severity is Severity.ERROR or problem.code == "KT512" else "caution"
        text = printable(f"{text}. {problem.hint}" if problem.hint else text)
        lines += [[(" ! ", role), (part, role)] for part in wrapped(text, width - 4, 2)]
    warning = snapshot.run.status.warning
    if warning and state not in ENDED and not any(problem.code == "KT511" for problem in snapshot.problems):
        lines += [[(" ! ", "caution"), (part, "caution")] for part in wrapped(printable(warning), width - 4, 2)]
    if state in ENDED - {"finished"} and states:
        lines.append([(" C", "accent"), (" goes on from the last saved state", "muted")])
    return lines


_NO_SAYING = frozenset({"next", "in line", "held", "waits"})
"""What the queue says of a run that needs no words beside its place."""


def waiting_lines(run: Run, waits: str, width: int, now: float) -> list[Cells]:
    """Of a queued run: its place, since when and for what it waits, what starts it, and the keys that change that."""
    since = float((run.spec.wait or {}).get("added") or run.spec.created)
    at = f"since {time.strftime('%H:%M', time.localtime(since))} ({human_age(max(0.0, now - since))})"
    place, keys = run.place, [("Z", "hold"), ("K J", "sooner, later"), ("R", "start now"), ("X", "take it out")]
    if run.spec.wait is None:
        facts, starts, keys = f"Waits in the cluster's queue {at}", f"{waits}.", [("X", "take it out")]
    elif run.is_abandoned:
        facts, starts = f"Has waited {at}", "Nobody waits for its turn any more: Z lets it go on."
        keys[0] = ("Z", "go on")
    else:
        facts = f"Number {place.position} of this machine's queue, {at}" if place is not None else f"Waits {at}"
        starts = "It starts by itself when its turn comes and there is room."
        if place is not None and place.held:
            starts = "It is held: others pass it until Z lets it go."
            keys[0] = ("Z", "let it go")
    reason = "" if run.is_abandoned or waits in _NO_SAYING or run.spec.wait is None else f": {waits}"
    text = printable(f"{facts}{reason}. {starts}")
    lines: list[Cells] = [[(f" {part}", "text")] for part in wrapped(text, width - 2, 3)]
    line: Cells = []
    for key, does in keys:
        line += [("   " if line else " ", "text"), (key, "accent"), (f" {does}", "muted")]
    return [*lines, cut(line, width)]


def marks_of(snapshot: RunSnapshot, parts: Sequence[Part] = ()) -> Marks:
    """Where epochs end, and where checkpoints and samples were made, on the steps of the whole training.

    `parts`: the runs that this one goes on from.
    """
    each = snapshot.steps_per_epoch

    def at(item: Checkpoint | SampleImage, before: int) -> int | None:
        if item.epoch is not None and each is not None:  # a step in a file's header counts from the resumption
            return round(item.epoch * each)
        return item.step + before if item.step is not None else None

    def all_at(find: Callable[[Part | RunSnapshot], Iterable[Checkpoint | SampleImage]]) -> set[int]:
        found = {at(item, snapshot.steps_before) for item in find(snapshot)}
        for part in parts:
            own = {at(item, part.before) for item in find(part)}
            found |= {step for step in own if step is not None and (part.until is None or step <= part.until)}
        return {step for step in found if step is not None}

    epochs: tuple[tuple[int, int], ...] = ()
    if each is not None and snapshot.epochs:
        epochs = tuple((round(epoch * each), epoch) for epoch in range(1, snapshot.epochs + 1))
    saved = all_at(lambda source: source.checkpoints)
    if any(item.final for item in snapshot.checkpoints) and snapshot.step:
        saved.add(snapshot.step)
    drawn = all_at(lambda source: source.samples)
    resumed = {part.until for part in parts if part.until}
    return Marks(epochs, tuple(sorted(saved)), tuple(sorted(drawn)), tuple(sorted(resumed)))


def sample_label(sample: SampleImage) -> str:
    """`e4`, or `s1200` for a sample of a step."""
    return f"e{sample.epoch}" if sample.epoch is not None else f"s{sample.step or 0}"


def checkpoint_lines(checkpoints: Sequence[Checkpoint], width: int, height: int, now: float) -> list[Cells]:
    """The newest checkpoints with their sizes, one a line; how many and how large in the first line."""
    if height < 1:
        return []
    if not checkpoints:
        return [[(f"{'checkpoints':<13}", "muted"), ("none yet", "muted")]]
    total = sum(item.bytes for item in checkpoints)
    left: Cells = [(f"{'checkpoints':<13}", "muted"), (f"{len(checkpoints)}", "text")]
    left += [(f"  {human_bytes(total)}", "muted"), ("   ", "text"), ("⏎", "accent"), (" all", "muted")]
    lines: list[Cells] = [cut(left, width)]
    for item in list(reversed(checkpoints))[: height - 1]:
        where = f"e{item.epoch}" if item.epoch is not None else "last" if item.final else f"s{item.step}"
        glyph = ("◆", "second") if item.complete else ("◇", "caution")
        name: Cells = [glyph, (f" {where:<6}", "text"), (printable(item.name), "muted")]
        size: Cells = [
            (human_bytes(item.bytes) if item.complete else "incomplete", "text" if item.complete else "caution")
        ]
        lines.append(spread(name, size, width))
    return lines


def place_of(path: Path, cwd: Path, room: int) -> str:
    """The folder of a file, said from the folder that the run began in; its end gives way, `""` when nothing fits."""
    folder = path.parent
    parts = printable(str(folder.relative_to(cwd) if folder.is_relative_to(cwd) else folder)).split("/")
    for count in range(len(parts), 0, -1):
        text = "/".join(parts[:count]) + ("/" if count == len(parts) else "/…")
        if width_of([(text, "")]) <= room and text != "/…":
            return text
    return ""


def saved_line(snapshot: RunSnapshot, width: int, now: float) -> Cells:
    """The newest checkpoint in one line, for where there is no room for more."""
    if not snapshot.checkpoints or width < 8:
        return []
    item = snapshot.checkpoints[-1]
    mark = ("◆ ", "second") if item.complete else ("◇ ", "caution")
    size = (f"  {human_bytes(item.bytes)}", "text") if item.complete else ("  incomplete", "caution")
    count = len(snapshot.checkpoints)
    right: Cells = [("⏎", "accent"), (f" all {count}" if count > 1 else " more", "muted")]
    line: Cells = [mark, (printable(item.name), "text"), size]
    room = width - width_of([*line, *right]) - 3
    place = place_of(item.path, Path(snapshot.run.spec.cwd), room)
    if place:
        line.append((f"  {place}", "muted"))
    age = human_age(max(0.0, now - item.mtime))
    if len(age) + (width_of([(place, "")]) + 2 if place else 0) <= room:
        line.append((f"  {age}", "muted"))
    if width_of(line) + width_of(right) + 1 > width:
        right = []
    return spread(line, right, width)


def result_lines(failed: Sequence[tuple[str, str]], last: Sequence[str], width: int, height: int) -> list[Cells]:
    """For a tag run: what failed and why, then the images that were tagged last."""
    lines: list[Cells] = []
    if failed:
        lines.append([(f" {len(failed)} failed", "bad")])
        room = max(2, height // 2) if last else height - 1
        for path, why in list(failed)[-room:]:
            reason = why.replace(path, "").strip()
            lines.append([("   ", "text"), (f"{printable(Path(path).name)}  ", "text"), (printable(reason), "muted")])
    if last:
        lines.append([(" tagged last", "muted")])
        lines += [[("   ", "text"), (printable(text), "text")] for text in list(last)[-max(1, height - len(lines)) :]]
    return [cut(line, width) for line in lines]
