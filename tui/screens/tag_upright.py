"""The offer to save turned images upright: what it is about, then the work with its progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from textual import on
from textual.widget import Widget
from textual.worker import Worker, WorkerState, get_current_worker

from core.problems import UserError
from core.text import count_of, printable
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines, cut

if TYPE_CHECKING:
    from core.dataset.upright import UprightPlan, UprightProgress
    from core.workspace import Workspace

TURNS = {
    2: "mirrored",
    3: "upside down",
    4: "mirrored, upside down",
    5: "mirrored, on its side",
    6: "on its left side",
    7: "mirrored, on its side",
    8: "on its right side",
}


class UprightDialog(Dialog[Any]):
    """Dismisses with the journal's group when images were turned."""

    def __init__(self, workspace: Workspace, plan: UprightPlan) -> None:
        super().__init__("Save images upright", "⏎ save them upright   Esc back")
        self._workspace, self._plan = workspace, plan
        self._work: Worker[None] | None = None

    def compose_dialog(self) -> Iterable[Widget]:
        from core.dataset.upright import summary

        about = Lines(id="about", on="surface")
        about.styles.height = 4
        about.show(
            [
                [(f"{summary(self._plan)}.", "text")],
                [("Saved upright, both see what you see. PNG keeps every pixel, JPEG is", "muted")],
                [("encoded once more at quality 95; u brings the old files back.", "muted")],
            ]
        )
        yield about
        rows = [
            [(f" {printable(each.path.name)}  ", "text"), (TURNS.get(each.orientation, ""), "muted")]
            for each in self._plan.images
        ]
        rows += [
            [(f" {printable(path.name)}  ", "muted"), (f"stays: {printable(why)}", "caution")]
            for path, why in self._plan.skipped
        ]
        images = ItemList(Texts(rows), id="options", on="surface")
        images.styles.height = max(1, min(len(rows), 8))
        yield images
        progress = Lines(id="plan", on="surface")
        yield progress

    def on_mount(self) -> None:
        self.query_one(ItemList).focus()

    @on(ItemList.Opened)
    def _begin(self) -> None:
        if self._work is None:
            self._say([[("turning …", "accent")]])
            self._work = self.run_worker(self._run, thread=True, exclusive=True, group="upright", exit_on_error=False)

    def _run(self) -> None:
        from core.dataset.upright import run_upright

        worker = get_current_worker()
        last: UprightProgress | None = None
        with contextlib.closing(run_upright(self._workspace, self._plan)) as steps:
            for last in steps:
                if worker.is_cancelled:
                    break
                self.app.call_from_thread(self._progress, last)
        self.app.call_from_thread(self._finished, last)

    def _progress(self, progress: UprightProgress) -> None:
        full = round(40 * progress.done / progress.total) if progress.total else 40
        bar: Cells = [("█" * full, "accent"), ("░" * (40 - full), "rule")]
        self._say(
            [[*bar, (f" {progress.done:,}/{progress.total:,}", "text")], [("Esc stops; what is done stays", "muted")]]
        )

    def _finished(self, last: UprightProgress | None) -> None:
        turned = last.turned if last is not None else 0
        failed = f", {len(last.skipped):,} could not be" if last is not None and last.skipped else ""
        self.app.notify(f"{count_of(turned, 'image')} saved upright{failed}", markup=False)
        for path, why in (last.skipped if last is not None else ())[:3]:
            self.app.notify(printable(f"{path.name}: {why}"), severity="warning", markup=False)
        self.dismiss(last.group if last is not None else None)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is self._work and event.state is WorkerState.ERROR and event.worker.error is not None:
            self._work = None
            error = event.worker.error
            if isinstance(error, UserError):
                self._say([[(printable(str(error)), "bad")]])
            else:
                self.app.report(error)

    def _say(self, lines: list[Cells]) -> None:
        panel = self.query_one("#plan", Lines)
        panel.styles.height = len(lines)
        panel.show([cut(line, panel.size.width or 60) for line in lines])

    def action_cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()
        else:
            self.dismiss(None)
