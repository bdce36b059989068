"""What the keys of the list of runs do to those that wait: their order, hold and release, out of the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.text import count_of, printable
from tui.screens.dialogs import Choose, Confirm
from tui.screens.monitor_actions import in_thread

if TYPE_CHECKING:
    from core.runs.model import Run
    from tui.app import KohyaApp
    from tui.screens.monitor import MonitorScreen


def is_queued(run: Run | None) -> bool:
    """Does it wait in the queue of this machine (or nobody waits for it any more)?"""
    return run is not None and str(run.state) == "queued" and run.spec.wait is not None


def move(screen: MonitorScreen, run: Run, by: int) -> None:
    """One place up or down, counted over all workspaces."""
    from core.runs import queue

    where = "down" if by > 0 else "up"
    in_thread(screen, lambda: queue.move(run, where), lambda _: screen.app.runs_changed.publish(run.id))


def hold_or_release(screen: MonitorScreen, run: Run) -> None:
    """Hold what waits; release what is held, or waits in vain (all of those at once, after a question)."""
    from core.runs import queue

    def done(said: str) -> None:
        screen.notify(said, timeout=4, markup=False)
        screen.app.runs_changed.publish(run.id)

    name = printable(run.spec.name)
    if not run.is_abandoned and (run.place is None or run.place.held is None):
        in_thread(screen, lambda: queue.hold(run), lambda _: done(f"{name} is held; Z lets it go."))
        return

    def release_all(lost: list[Run]) -> None:
        for one in lost:
            queue.release(one)

    def ask(lost: list[Run]) -> None:
        if not run.is_abandoned or len(lost) < 2:
            in_thread(screen, lambda: queue.release(run), lambda _: done(f"{name} waits for its turn."))
            return
        options = [("one", f"Only {name}", ""), ("all", f"All {len(lost)}", "in their old order")]

        def chosen(answer: str | None) -> None:
            if answer is not None:
                some = lost if answer == "all" else [run]
                said = f"{count_of(len(some), 'run waits', 'runs wait')} for their turn."
                in_thread(screen, lambda: release_all(some), lambda _: done(said))

        screen.app.push_screen(Choose("Which ones shall wait again?", options), chosen)

    in_thread(screen, queue.abandoned, ask)


def start_now(screen: MonitorScreen, run: Run) -> None:
    """Past the queue, after a question: it may have company on its GPU."""
    from core.runs import queue

    def chosen(answer: str | None) -> None:
        if answer == "yes":
            in_thread(screen, lambda: queue.hurry(run), lambda _: screen.app.runs_changed.publish(run.id))

    name = printable(run.spec.name)
    text = "Before its turn, and beside what its GPU does already: two trainings on one GPU rarely fit."
    screen.app.push_screen(Confirm(f"Start {name} now?", text, "Start it now", "Let it wait"), chosen)


def cancel(screen: MonitorScreen, run: Run) -> None:
    """Out of the queue, after a question."""
    from core.runs import queue

    def chosen(answer: str | None) -> None:
        if answer == "yes":
            in_thread(screen, lambda: queue.cancel(run), lambda _: screen.app.runs_changed.publish(run.id))

    name = printable(run.spec.name)
    text = "It is not started; its folder stays in the list as stopped."
    screen.app.push_screen(Confirm(f"Take {name} out of the queue?", text, "Take it out", "Let it wait"), chosen)


def offer_release(app: KohyaApp) -> None:
    """After a restart of the machine, or a kill: say what waits in vain. On a thread."""
    from core.runs.queue import abandoned

    def look() -> None:
        lost = abandoned()
        if lost:
            what = count_of(len(lost), "run waits", "runs wait")
            why = (
                "since the machine was restarted" if any(_since_boot(run) for run in lost) else "since they were killed"
            )
            text = f"{what} in vain {why}. In Monitor (5) Z lets them go on, or: kohya-tui queue release --all"
            app.call_from_thread(app.notify, text, severity="warning", timeout=12, markup=False)

    app.run_worker(look, thread=True, group="queue", exit_on_error=False)


def _since_boot(run: Run) -> bool:
    return run.place is not None and run.place.held == "reboot"
