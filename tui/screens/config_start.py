"""The start of a training: the plan, what stands against it, the trainer itself; asks once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Static

from core.problems import Problem, Severity
from core.text import printable
from tui.screens.config_form import MARKS, ORDER
from tui.screens.config_parts import wrapped
from tui.screens.dialogs import Dialog
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.plan import Plan
    from core.settings import Settings
    from core.workspace import Workspace

Answer = Problem | str


class Start(Dialog[Answer]):
    """Shown at once with what is known; `settle` brings the rest. The answer is "start" or a problem to go to."""

    BINDINGS = [Binding("enter", "yes", "start", show=False, id="list.open", priority=True)]

    def __init__(self, name: str, plan: Plan | None, problems: Sequence[Problem]) -> None:
        super().__init__(f"Train {printable(name)}", "looking at the trainer …   Esc back")
        self._config, self._plan, self._problems = name, plan, problems
        self._trainer = ""
        self._settled = self._wanted = False

    def compose_dialog(self) -> Iterable[Widget]:
        yield ItemList(id="options", on="surface")

    def on_mount(self) -> None:
        self.query_one(ItemList).focus()
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    @property
    def errors(self) -> list[Problem]:
        """What keeps the training from starting."""
        from core.config.preflight import refuses

        return [problem for problem in self._problems if refuses(problem)]

    def settle(self, plan: Plan | None, problems: Sequence[Problem], trainer: str) -> None:
        """Everything was looked at. `trainer` names what will train."""
        self._plan, self._problems, self._trainer, self._settled = plan, problems, trainer, True
        if self.is_current:
            if self._wanted and not self.errors:
                self.dismiss("start")
            else:
                self._show()

    def _show(self) -> None:
        rows = self.query_one(ItemList)
        width = (rows.size.width or 70) - 1  # the bar's
        lines: list[Cells] = [[(f" {text}", "text")] for text in (self._plan.lines() if self._plan is not None else [])]
        if self._trainer:
            lines.append([(f" trained by {printable(self._trainer)}", "muted")])
        shown = sorted(self._problems, key=lambda each: ORDER.index(each.severity))
        if shown:
            lines.append([])
        for problem in shown:
            glyph, role = MARKS[problem.severity]
            lines.append([(f" {glyph} ", role), (printable(f"{problem.where}: {problem.message}"), "text")])
            if problem.hint and problem.severity is not Severity.INFO:
                lines.append([("   ", "text"), (printable(problem.hint), "muted")])
        lines = wrapped(lines, width)
        rows.styles.height = max(1, min(len(lines), self.app.size.height - 9))
        rows.set_rows(Texts(lines))
        errors = self.errors
        if errors:
            self.query_one("#title", Static).update(f"{printable(self._config)} cannot be trained yet", layout=False)
        keys = "⏎ go to the first problem   Esc back" if errors else "⏎ start   Esc back"
        if not self._settled:
            keys = "looking at the trainer …   " + keys
        elif self._wanted and not errors:
            keys = "starting …"
        self.query_one("#keys", Static).update(keys, layout=False)

    def action_yes(self) -> None:
        errors = self.errors
        if errors:
            self.dismiss(min(errors, key=lambda each: self._problems.index(each)))
        elif self._settled:
            self.dismiss("start")
        else:
            self._wanted = True
            self._show()


def look(config: Config, workspace: Workspace, settings: Settings) -> tuple[Plan | None, tuple[Problem, ...], str]:
    """(plan, problems, what trains): the preflight with the machine and the trainer. Takes a second: on a thread."""
    from core.config.plan import plan
    from core.config.resolved import script_of
    from core.config.survey import Survey
    from core.runs.ready import check_start

    survey = Survey()
    planned = plan(config, workspace, survey=survey) if not config.broken else None
    problems = tuple(check_start(config, workspace, settings, planned, survey=survey))
    if settings.trainer == "demo":
        return planned, problems, "the demo trainer inside kohya-tui (it draws; it is no Stable Diffusion)"
    where = f"{script_of(config, workspace)} of {settings.sd_scripts}" if settings.sd_scripts is not None else ""
    return planned, problems, where
