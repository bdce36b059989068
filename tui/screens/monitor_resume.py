"""Going on from a saved state, and training a LoRA further: what is possible, asked once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.text import human_age, printable
from tui.screens.dialogs import Choose
from tui.screens.monitor_actions import in_thread

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.resume import Point
    from core.settings import Settings
    from core.workspace import Workspace
    from tui.screens.monitor import MonitorScreen

_NOW, _QUEUE = "now", "queue"


def resume(screen: MonitorScreen, run: Run) -> None:
    """Ask from which state, and when there is something else going also when."""
    workspace, settings = screen.app.workspace, screen.app.settings
    if workspace is None:
        return

    def found(answer: tuple[list[Point], str | None, bool]) -> None:
        points, note, crowded = answer
        usable = {str(point.state.path): point for point in points if point.problem is None}
        now = time.time()
        options = [
            (
                path,
                point.state.name.removesuffix("-state"),
                f"{point.sentence()}, {human_age(max(0.0, now - point.state.mtime))}",
            )
            for path, point in usable.items()
        ]
        lines = ["A new run; the old one and its files stay as they are.", *([note] if note else [])]
        lines += [f"{point.state.name} {point.problem}" for point in points if point.problem is not None][:3]

        def chosen(path: str | None) -> None:
            if path:
                when(screen, crowded, lambda mode: begin(usable[path], mode))

        title = f"Continue {printable(run.spec.name)} from"
        screen.app.push_screen(Choose(title, options, "\n".join(lines)), chosen)

    def begin(point: Point, mode: str) -> None:
        in_thread(screen, lambda: _resumed(workspace, settings, run, point, mode), lambda new: screen.show_run(new.id))

    in_thread(screen, lambda: _points(workspace, run), found)


def _points(workspace: Workspace, run: Run) -> tuple[list[Point], str | None, bool]:
    """The states, what has no effect, whether something else trains or waits. Raises UserError when none leads on."""
    from core.runs import resume as resuming

    options, is_todays = resuming.options_of(run, workspace.configs)
    resuming.choose(run, options)
    note = resuming.check_changes(run, options) if is_todays else None
    return resuming.points(run, options), note, _is_crowded(workspace)


def _is_crowded(workspace: Workspace) -> bool:
    """Whether a new run would have company: what is held takes no GPU until somebody lets it go."""
    from core.runs import queue
    from core.runs.model import RunState
    from core.runs.store import list_runs

    waits = any(run.place is not None and not run.place.held for run in queue.waiting())
    return waits or any(run.live and run.state is not RunState.QUEUED for run in list_runs(workspace))


def when(screen: MonitorScreen, crowded: bool, begin: Any) -> None:
    """Now, where nothing else is going; else ask."""
    if not crowded:
        begin(_NOW)
        return
    options = [
        (_QUEUE, "Queue it", "it starts when a GPU is free"),
        (_NOW, "Start now", "beside what is going; two trainings on one GPU rarely fit"),
    ]
    screen.app.push_screen(Choose("Something else is going", options), lambda mode: begin(mode) if mode else None)


def _resumed(workspace: Workspace, settings: Settings, run: Run, point: Point, mode: str) -> Run:
    from core.runs import resume as resuming

    _, is_todays = resuming.options_of(run, workspace.configs)
    keywords = resuming.keywords(run, point, is_todays)
    return _begin(workspace, settings, run, keywords, mode)


def _begin(workspace: Workspace, settings: Settings, run: Run, keywords: dict[str, Any], mode: str) -> Run:
    from core.hardware import read_gpus
    from core.runs import queue
    from core.runs.launchers import as_before
    from core.runs.specs import recipe_of

    settings = as_before(run.spec, settings)
    wish = queue.Wish() if mode == _QUEUE and settings.launcher != "slurm" else None
    recipe = recipe_of(run.spec.config or run.spec.name, settings, **keywords)
    group = run.spec.group if keywords.get("resumed_from") else None
    return queue.begin(workspace, recipe, settings, read_gpus(), gpu=run.spec.gpu, wish=wish, group=group)


def train_further(screen: MonitorScreen, run: Run, lora: Path) -> None:
    """A new training with today's config that begins with these weights."""
    workspace, settings = screen.app.workspace, screen.app.settings
    if workspace is None or run.spec.config is None:
        screen.notify("This run was not started from a config of this workspace.", severity="warning")
        return

    def look() -> tuple[str | None, bool]:
        from core.runs import resume as resuming

        options, _ = resuming.options_of(run, workspace.configs)
        resuming.check_lora(lora, options, dim_from_weights=True)
        try:
            resuming.check_lora(lora, options)
        except UserError as error:
            return error.message, _is_crowded(workspace)
        return None, _is_crowded(workspace)

    def found(answer: tuple[str | None, bool]) -> None:
        other, crowded = answer
        text = (
            f"A new training of the config {run.spec.config} that begins with {lora.name}. Optimizer and learning rate "
            "schedule begin anew. To go on where a run was stopped, continue it from a state (C)."
        )
        options = [("train", "Train it further", "")]
        if other is not None:
            options = [("weights", "Train it further with its own dim and alpha", other)]
        options.append(("", "Not now", ""))

        def chosen(answer: str | None) -> None:
            if answer:
                keywords = {"from_lora": lora, "dim_from_weights": answer == "weights"}
                when(screen, crowded, lambda mode: begin(keywords, mode))

        screen.app.push_screen(Choose(f"Train {printable(lora.name)} further", options, text), chosen)

    def begin(keywords: dict[str, Any], mode: str) -> None:
        in_thread(screen, lambda: _begin(workspace, settings, run, keywords, mode), lambda new: screen.show_run(new.id))

    in_thread(screen, look, found)
