"""Three steps of the open config on its largest bucket: how far they are, what one takes and needs; Esc ends them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import get_current_worker

from core.problems import UserError
from core.text import human_bytes, human_seconds, printable
from tui.screens.config_parts import wrapped
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.gauges import bar
from tui.widgets.lines import LiveLines

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.plan import Plan
    from core.runs.measure import Measured, MeasureProgress
    from core.settings import Settings
    from core.workspace import Workspace

_HEIGHT = 5


class Measure(Dialog[bool]):
    """Begins at once. Dismisses with True when something was measured, after the user has read it."""

    BINDINGS = [Binding("enter", "cancel", "close", show=False, id="list.open")]

    class Told(Message):
        """How far it is."""

        def __init__(self, progress: MeasureProgress) -> None:
            super().__init__()
            self.progress = progress

    class Ended(Message):
        """The trainer is gone. `error` says why it measured nothing; None when it did, or was ended."""

        def __init__(self, error: UserError | None) -> None:
            super().__init__()
            self.error = error

    def __init__(self, config: Config, plan: Plan | None, workspace: Workspace, settings: Settings) -> None:
        super().__init__(f"Three steps of {printable(config.name)}", "Esc ends them: nothing is kept")
        self._config, self._plan, self._workspace, self._settings = config, plan, workspace, settings
        self._result: Measured | None = None
        self._is_over = self._is_left = False

    def compose_dialog(self) -> Iterable[Widget]:
        lines = LiveLines([[("looking for a picture of the largest bucket …", "muted")]], on="surface", id="progress")
        lines.styles.height = _HEIGHT
        yield lines

    def on_mount(self) -> None:
        self._measure()

    @work(thread=True, exit_on_error=False, description="measure three steps")
    def _measure(self) -> None:
        from core.runs.measure import measure

        worker, error = get_current_worker(), None
        try:
            with closing(measure(self._config, self._workspace, self._settings)) as steps:
                for progress in steps:
                    if worker.is_cancelled or self._is_left:
                        break
                    self.post_message(self.Told(progress))
        except UserError as raised:
            error = raised
        self.post_message(self.Ended(error))

    def on_measure_told(self, event: Told) -> None:
        from core.runs.measure import STEPS

        now = event.progress
        self._result = now.result
        memory = f"   {human_bytes(now.vram_bytes)} of GPU memory" if now.vram_bytes is not None else ""
        if not self._is_left:
            self._show(
                [
                    bar([(now.step / STEPS, "accent")], 48),
                    [(f"{now.step} of {STEPS} steps", "text"), (f"   {printable(now.phase)}", "muted")],
                    [(f"{human_seconds(now.seconds)}{memory}", "muted")],
                ]
            )

    def on_measure_ended(self, event: Ended) -> None:
        self._is_over = True
        if self._is_left:
            self.dismiss(False)
        elif event.error is not None:
            self._say("⏎ or Esc back")
            lines: list[Cells] = [[("✗ ", "bad"), (printable(event.error.message), "text")]]
            self._show([*lines, [("  ", "text"), (printable(event.error.hint or ""), "muted")]])
        elif self._result is not None:
            self._say("⏎ or Esc back: the plan goes on with it")
            self._show(told(self._result, self._plan))

    def _say(self, keys: str) -> None:
        self.query_one("#keys", Static).update(Content(keys), layout=False)

    def _show(self, lines: list[Cells]) -> None:
        area = self.query_one(LiveLines)
        area.show(wrapped(lines, area.size.width or 70)[:_HEIGHT])

    def action_cancel(self) -> None:
        if self._is_over:
            self.dismiss(self._result is not None)
        elif not self._is_left:
            self._is_left = True
            self._say("")
            self._show([[("ending the trainer …", "caution")]])


def told(found: Measured, plan: Plan | None) -> list[Cells]:
    """What was measured, in words: the step, all steps of the plan, the memory."""
    width, height = found.bucket
    each = f"{found.seconds_per_step:.2g} s" if found.seconds_per_step < 10 else f"{found.seconds_per_step:.0f} s"
    lines: list[Cells] = [[(f"{each} a step", "text bold"), (f"   {width}×{height}, batch {found.batch}", "muted")]]
    if plan is not None and plan.total_steps:
        whole = human_seconds(found.seconds_per_step * plan.total_steps)
        lines.append(
            [(f"{plan.total_steps:,} steps in about {whole}", "text"), ("   without samples and saving", "muted")]
        )
    if found.vram_bytes is None:
        lines.append([("no GPU memory to measure", "muted")])
        return lines
    needs: Cells = [(f"{human_bytes(found.vram_bytes)} of GPU memory", "text bold")]
    if found.vram_total:
        share = found.vram_bytes / found.vram_total
        role = "bad" if share > 0.97 else "caution" if share > 0.9 else "good"
        needs.append((f"   of {human_bytes(found.vram_total)}: {1 - share:.0%} left", role))
    lines.append([*needs, (f"   {printable(found.gpu)}" if found.gpu else "", "muted")])
    return lines
