"""The ways to begin a training: now, on which GPU, when one is free, at a time; and with which launcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.problems import UserError
from core.text import count_of, human_gib, printable

if TYPE_CHECKING:
    from core.problems import Problem
    from core.settings import Settings
    from core.workspace import Workspace
    from tui.app import KohyaApp

NOT_FOR_THE_QUEUE = frozenset({"KT405", "KT409", "KT411", "KT412"})
"""Findings about other runs: a queued one waits for their end."""


@dataclass(frozen=True, slots=True)
class Way:
    """One row of the choice. `launcher` is another one than that of the settings."""

    label: str
    why: str = ""
    queue: bool = False
    gpu: str | None = None
    asks_time: bool = False
    asks_values: bool = False
    """A sweep."""
    at: float | None = None
    held: bool = False
    launcher: str | None = None
    turns: bool = False
    """It only changes the launcher: the dialog stays."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is to choose from: GPUs as (index, words), how many runs wait, launchers (the settings' one first)."""

    gpus: tuple[tuple[str, str], ...] = ()
    waiting: int = 0
    launchers: tuple[str, ...] = ()


def machine(settings: Settings) -> Machine:
    """Reads the GPUs and the queue: on a thread."""
    from core.hardware import read_gpus
    from core.runs import queue, slots
    from core.settings import CHOICES

    demo = settings.trainer == "demo"
    gpus = []
    for gpu in slots.visible(read_gpus()) if not demo else ():
        held = slots.holders([slots.name_of(gpu)])
        used = "another run is under way" if held else slots.used_by_others(gpu)
        free = f"{human_gib(gpu.memory_total)} GiB, free" if gpu.memory_total else "free"
        gpus.append((gpu.index, f"{gpu.name or 'GPU'}: {used or free}"))
    others = () if demo else tuple(name for name in CHOICES["launcher"] if name != settings.launcher)
    return Machine(tuple(gpus), len(queue.waiting()), (settings.launcher, *others))


def ways(found: Machine, problems: Sequence[Problem], launcher: str) -> list[Way]:
    """What can be done now; nothing when the config itself keeps it from training."""
    from core.config.preflight import refuses

    refused = {problem.code for problem in problems if refuses(problem)}
    if refused - NOT_FOR_THE_QUEUE:
        return []
    rows: list[Way] = []
    if launcher == "slurm":
        rows.append(Way("Hand it to Slurm", "as a job, which waits in the cluster's queue"))
    else:
        several = len(found.gpus) > 1 and launcher == "local"
        if not refused:
            if several:
                rows += [Way(f"Start now on GPU {index}", words, gpu=index) for index, words in found.gpus]
            else:
                rows.append(Way("Start now", found.gpus[0][1] if found.gpus else ""))
        line = f"; {count_of(found.waiting, 'run waits', 'runs wait')} before it" if found.waiting else ""
        when = "a GPU is free" if found.gpus else "nothing else is trained"
        rows.append(Way("Queue it", f"starts when {when}{line}", queue=True))
        if several:
            rows += [Way(f"Queue it for GPU {index}", "", queue=True, gpu=index) for index, _ in found.gpus]
        rows.append(Way("Queue it for a time …", "not before then: 23:30, +2h", queue=True, asks_time=True))
        rows.append(Way("Queue it, held", "until Z in Monitor lets it go", queue=True, held=True))
    rows.append(Way("Sweep …", "several values of a few keys, each as a run", queue=True, asks_values=True))
    if len(found.launchers) > 1:
        following = found.launchers[(found.launchers.index(launcher) + 1) % len(found.launchers)]
        rows.append(Way(f"Launcher: {launcher}", f"⏎ {following} instead", launcher=following, turns=True))
    other = launcher if found.launchers and launcher != found.launchers[0] else None
    return [row if row.turns else replace(row, launcher=other) for row in rows]


def begin(workspace: Workspace, config: str, settings: Settings, way: Way) -> tuple[str, str]:
    """Start or queue it; returns the run's id and what to say. Reads the GPUs: on a thread. Raises UserError."""
    from core.hardware import read_gpus
    from core.runs import queue
    from core.runs.model import RunState
    from core.runs.specs import recipe_of

    settings = with_launcher(settings, way)
    wish = queue.Wish(way.gpu or "any", way.at, held=way.held) if way.queue else None
    recipe = recipe_of(config, settings)
    run = queue.begin(workspace, recipe, settings, read_gpus(), gpu=way.gpu, wish=wish)
    if run.state is RunState.QUEUED and run.place is not None:
        return run.id, f"{printable(run.spec.name)} is queued as number {run.place.position}: {queue.said(run)}"
    return run.id, ""


def with_launcher(settings: Settings, way: Way) -> Settings:
    """The settings with the launcher that was chosen."""
    return settings if way.launcher is None else replace(settings, launcher=way.launcher)


async def with_time(app: KohyaApp, way: Way) -> Way | None:
    """Ask when; None when it was left."""
    from core.runs.queue import moment
    from tui.screens.dialogs import Ask

    def wrong(text: str) -> str | None:
        try:
            moment(text)
        except UserError as error:
            return f"{error.message}. {error.hint}"
        return None

    label = "Not before: 23:30, +2h, 2026-12-01 08:00"
    text = await app.push_screen_wait(Ask("Queue it for a time", label, check=wrong))
    return replace(way, at=moment(text)) if text else None
