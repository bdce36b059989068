"""One short line about what goes on, for tmux's status bar and the like."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.output import put
from core.text import human_seconds, printable

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.watch import RunSnapshot, RunWatch

GLYPHS = {"queued": "◌", "prepared": "◌", "running": "▶", "stopping": "■", "finished": "✓", "failed": "✗", "lost": "?"}
FRESH_SECONDS = 3600.0
"""For so long after its end a run is still worth a place in a status bar."""


def line_of(seen: RunSnapshot, now: float) -> str:
    """`▶ rinni 47% 1,012/2,140 · loss 0.0894 · 13m left`; what is not known is left out."""
    from core.runs.model import LIVE_STATES, RunKind
    from core.runs.pace import has_stalled

    run = seen.run
    live = run.state in LIVE_STATES
    head = f"{GLYPHS.get(str(run.state), '■')} {printable(run.spec.name)}"
    parts = []
    if seen.total_steps and seen.step is not None:
        parts.append(f"{head} {100 * seen.step // seen.total_steps}% {seen.step:,}/{seen.total_steps:,}")
    else:
        parts.append(head)
    if not live:
        parts.append(str(run.state))
    elif has_stalled(seen.quiet_seconds, None, 1 / seen.rate if seen.rate else None, run.spec.alerts):
        parts.append(f"nothing new for {human_seconds(seen.quiet_seconds or 0)}")
    elif run.spec.kind is RunKind.TRAIN and seen.phase not in ("training", "done"):
        part = seen.sample if seen.phase == "sampling" else seen.part  # which picture, not how far it is
        counted = f" {part[0]}/{part[1]}" if part is not None and part[1] else ""
        parts.append(seen.phase.replace("-", " ") + counted)
    if live and seen.loss is not None:
        parts.append(f"loss {seen.loss:.3g}")
    if live and seen.eta_seconds is not None:
        parts.append(f"{human_seconds(seen.eta_seconds)} left")
    if seen.reason and not live and str(run.state) in ("failed", "lost"):
        parts.append(printable(seen.reason).split(". ")[0][:60])
    return " · ".join(parts)


def _chosen(folder: Path, name: str | None, now: float) -> Run | None:
    """The named run; else one that goes, else one that ended lately, else none: an empty bar."""
    from core.runs.model import LIVE_STATES
    from core.runs.store import list_runs, open_run

    if name is not None:
        return open_run(folder, name)
    runs = list_runs(folder)
    live = [run for run in runs if run.state in LIVE_STATES]
    if live:
        return live[0]
    return next((run for run in runs if run.status.ended and now - run.status.ended < FRESH_SECONDS), None)


def show(folder: Path, name: str | None, *, watch: bool) -> None:
    """Print the line; with `watch` again whenever it is another one, for ever (a status bar never ends)."""
    from core.runs.watch import RunWatch

    watches: dict[str, RunWatch] = {}
    shown: str | None = None
    while True:
        now = time.time()
        run = _chosen(folder, name, now)
        text = ""
        if run is not None:
            if run.id not in watches:
                watches = {run.id: RunWatch(run.dir)}
            text = line_of(watches[run.id].poll(), now)
        if text != shown:
            put(text)
            shown = text
        if not watch:
            return
        time.sleep(1)
