"""What the keys of the Monitor screen do to runs: stop and resume them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.runs.costs import stop_costs
from core.text import printable
from tui.screens.dialogs import Choose
from tui.screens.monitor_parts import ENDED, is_tagging

if TYPE_CHECKING:
    from core.runs.artifacts import SampleImage
    from core.runs.model import Run
    from core.runs.watch import RunSnapshot
    from tui.app import KohyaApp
    from tui.screens.monitor import MonitorScreen


def in_thread(screen: MonitorScreen, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
    """Do `job` on a thread, then `done(result)`; an error is told."""

    def work() -> None:
        try:
            result = job()
        except Exception as error:
            screen.app.call_from_thread(screen.app.report, error)
        else:
            screen.app.call_from_thread(done, result)

    screen.run_worker(work, thread=True, group="monitor-action", exit_on_error=False)


def stop(screen: MonitorScreen) -> None:
    """Ask how, saying what each way costs, then ask the supervisor."""
    run = screen.selected_run()
    if run is None or str(run.state) in ENDED:
        return
    if str(run.state) == "queued" and run.spec.wait is not None:
        from tui.screens.monitor_queue import cancel

        cancel(screen, run)
        return
    if screen.news is not None:
        _ask_to_stop(screen, run, screen.news.snapshot)
    elif is_tagging(run):
        _ask_to_stop(screen, run, None)
    else:  # in the list nothing is known yet of what it would cost
        from core.runs.watch import whole

        in_thread(screen, lambda: whole(run), lambda seen: _ask_to_stop(screen, run, seen))


def _ask_to_stop(screen: MonitorScreen, run: Run, seen: RunSnapshot | None) -> None:
    from core.runs.launch import stop as stop_run

    if not screen.is_current:
        return
    options: list[tuple[str, str, str]] = []
    if seen is not None:
        costs = stop_costs(seen, time.time())
        if costs.wait is not None and not run.status.stop_after_checkpoint:
            options.append(("stop-after-checkpoint", "After the next checkpoint", costs.wait))
        options.append(("stop-now", "Now", costs.now))
        if run.status.stop_after_checkpoint:
            options.append(("continue", "Go on after all", "takes the wish to stop back"))
    else:
        options.append(("stop-now", "Now", ""))
    options.append(("", "Not at all", "leave it running"))

    def chosen(mode: str | None) -> None:
        if not mode:
            return
        if mode == "continue":
            from core.runs.store import request

            in_thread(screen, lambda: request(run, "continue"), lambda _: screen.notify("It goes on.", timeout=4))
            return
        said = "Asked to stop…" if mode == "stop-now" else "It stops after the next checkpoint."
        screen.notify(said, timeout=4)
        in_thread(screen, lambda: stop_run(run, mode), lambda _: None)

    screen.app.push_screen(Choose(f"Stop {printable(run.spec.name)}?", options), chosen)


def resume(screen: MonitorScreen) -> None:
    """Start a new run that goes on from a saved state of this one."""
    from tui.screens.monitor_resume import resume as ask

    run = screen.selected_run()
    if run is not None:
        ask(screen, run)


def where(epoch: int | None, step: int | None) -> str:
    """`the end of epoch 6`, `step 1,200`, `the end`."""
    if epoch is not None:
        return f"the end of epoch {epoch}"
    return f"step {step:,}" if step is not None else "the end"


def edit_prompts(screen: MonitorScreen) -> None:
    """The sample prompts that the run draws next."""
    from tui.screens.run_prompts import open_prompts

    run = screen.selected_run()
    if run is not None:
        screen.app.run_worker(open_prompts(screen.app, None, run), exit_on_error=False)


def show_samples(app: KohyaApp, snapshot: RunSnapshot, at: SampleImage | None = None) -> None:
    """All pictures of a run by prompt and epoch; those that are drawn meanwhile join them."""
    from core.runs import artifacts
    from tui.screens.monitor_parts import sample_label
    from tui.screens.monitor_samples import SamplesScreen
    from tui.screens.sample_boards import Board, of_run

    run, epochs = snapshot.run, snapshot.epochs

    def again() -> Board:
        return of_run(run, artifacts.samples(run), artifacts.checkpoints(run), epochs)

    board = of_run(run, snapshot.samples, snapshot.checkpoints, epochs)
    at_column = sample_label(at) if at is not None else None
    app.push_screen(SamplesScreen(board, again if run.live else None, at_column))
