"""A sweep from the Config screen: which values, what that becomes, and the start; asks twice, shows the plan once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from core.problems import UserError
from core.text import count_of, printable
from tui.screens.dialogs import Ask, Choose

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.runs.sweep import Axis, Sweep
    from core.settings import Settings
    from core.workspace import Workspace
    from tui.app import KohyaApp

_SHOWN = 8


async def start_sweep(app: KohyaApp, workspace: Workspace, config: Config, settings: Settings) -> str | None:
    """The id of the first run of the sweep that was queued; None when it was left. `config` is as it is on disk."""
    from core.runs import sweep

    def axes(text: str) -> list[Axis]:
        return [sweep.axis(config, word) for word in text.split()]

    def wrong(text: str) -> str | None:
        try:
            return None if axes(text) else "Name a key with values."
        except UserError as error:
            return f"{error.message}. {error.hint or ''}"

    label = "Keys with their values; every combination becomes a run:\nlearning_rate=1e-4,5e-5 network_dim=16,32"
    text = await app.push_screen_wait(Ask(f"Sweep {printable(config.name)}", label, check=wrong))
    if not text:
        return None
    planned = await asyncio.to_thread(sweep.plan, workspace, config.name, axes(text), settings)
    refused = refusals(planned)
    options = [] if refused else [("yes", f"Queue these {count_of(len(planned.variants), 'run')}", "")]
    options.append(("", "Not now", ""))
    question = Choose(f"Sweep {printable(config.name)}", options, "\n".join([*plan_lines(planned), *refused]))
    if await app.push_screen_wait(question) != "yes":
        return None
    return await asyncio.to_thread(_start, workspace, planned, settings)


def plan_lines(planned: Sweep) -> list[str]:
    """The whole in one line, then the runs with their steps; of many only the first ones."""
    from core.config.values import shown

    lines = planned.lines()
    for variant in planned.variants[:_SHOWN]:
        values = "  ".join(f"{key} {shown(value)}" for key, value in variant.values.items())
        lines.append(f"  {values}: {variant.plan.total_steps:,} steps")
    more = len(planned.variants) - _SHOWN
    return [*lines, f"  … and {more} more"] if more > 0 else lines


def refusals(planned: Sweep) -> list[str]:
    """What keeps some of them from training, each once."""
    from core.config.preflight import refuses

    found = {
        f"✗ {problem.where}: {problem.message}": None
        for variant in planned.variants
        for problem in variant.problems
        if refuses(problem)
    }
    return list(found)[:4]


def _start(workspace: Workspace, planned: Sweep, settings: Settings) -> str:
    from core.hardware import read_gpus
    from core.runs import queue, sweep

    _, runs = sweep.start(workspace, planned, settings, read_gpus(), queue.Wish())
    return runs[0].id
