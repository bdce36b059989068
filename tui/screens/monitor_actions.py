"""What the keys of the Monitor screen do to runs: stop and resume them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.runs.costs import stop_costs
from core.text import printable
from tui.screens.dialogs import Choose
from tui.screens.monitor_parts import ENDED, is_tagging
from tui.widgets.run_list import arranged

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.watch import RunSnapshot
    from core.workspace import Workspace
    from tui.screens.monitor import MonitorScreen

_DETAILED = 100
_TAIL = 64 << 10


def list_with_progress(
    workspace: Workspace | None, known: dict[str, str], detailed: bool
) -> tuple[list[Run], dict[str, str]]:
    """The runs, newest first, and how far the newest ones came; an ended run is looked into once."""
    from core.runs.store import list_runs, runs_dir

    runs = arranged(list_runs(runs_dir(workspace)))
    progress = {run.id: known[run.id] for run in runs if run.id in known and str(run.state) in ENDED}
    if any(run.spec.wait is not None and str(run.state) == "queued" for run in runs):
        from core.runs.queue import said

        progress |= {run.id: said(run) for run in runs if str(run.state) == "queued" and run.spec.wait is not None}
    for run in runs[:_DETAILED] if detailed else ():
        if run.id not in progress and (run.live or str(run.state) in ENDED):
            progress[run.id] = how_far(run)
    return runs, progress


def how_far(run: Run) -> str:
    """`1,012/2,140` by the end of the log alone: the events of forty runs would take seconds to read."""
    if is_tagging(run):
        from core.runs.watch import snapshot

        found = snapshot(run)
        return f"{found.step or 0:,}/{found.total_steps:,} img" if found.total_steps else ""
    from core.runs.pace import first_epoch, steps_before, steps_in_all
    from core.runs.progress import ProgressReader

    reader, first = ProgressReader(), first_epoch(run.spec.argv)
    try:
        with run.log_file.open("rb") as stream:
            if first > 1:  # its totals stand at the beginning
                reader.feed(stream.read(_TAIL))
                reader.jump()
            stream.seek(max(0, run.log_file.stat().st_size - _TAIL))
            state = reader.feed(stream.read(_TAIL))
    except OSError:
        return ""
    each = state.steps_per_epoch
    total = steps_in_all(state.total_steps, state.epochs, first, each)
    return f"{steps_before(first, each) + (state.step or 0):,}/{total:,}" if total else ""


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
