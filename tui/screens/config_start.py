"""The start of a training: the plan, what stands against it, the trainer itself; asks once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import getters
from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Static

from core.problems import Problem, Severity
from core.text import printable
from tui.screens.config_form import MARKS, ORDER
from tui.screens.config_parts import wrapped
from tui.screens.dialogs import Dialog
from tui.screens.start_ways import NOT_FOR_THE_QUEUE, Machine, Way, machine, ways
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.plan import Plan
    from core.settings import Settings
    from core.workspace import Workspace

Answer = Problem | Way


class Start(Dialog[Answer]):
    """Shown at once with what is known; `settle` brings the rest. The answer: a way to begin, or a problem to go to."""

    BINDINGS = [Binding("enter", "yes", "start", show=False, id="list.open", priority=True)]

    reasons = getters.query_one("#options", ItemList)
    choice = getters.query_one("#ways", ItemList)

    def __init__(self, name: str, plan: Plan | None, problems: Sequence[Problem], launcher: str = "local") -> None:
        super().__init__(f"Train {printable(name)}", "looking at the trainer …   Esc back")
        self._config, self._plan, self._problems = name, plan, problems
        self._trainer = ""
        self._machine, self._launcher = Machine(), launcher
        self._ways: list[Way] = []
        self._settled = self._wanted = False

    def compose_dialog(self) -> Iterable[Widget]:
        yield ItemList(id="options", on="surface")
        yield ItemList(id="ways", on="surface")

    def on_mount(self) -> None:
        self.reasons.focus()
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    @property
    def errors(self) -> list[Problem]:
        """What keeps the training from starting, now and in the queue."""
        from core.config.preflight import refuses

        return [each for each in self._problems if refuses(each) and each.code not in NOT_FOR_THE_QUEUE]

    def settle(self, plan: Plan | None, problems: Sequence[Problem], trainer: str, machine: Machine) -> None:
        """Everything was looked at. `trainer` names what will train."""
        self._plan, self._problems, self._trainer, self._settled = plan, problems, trainer, True
        self._machine = machine
        if self.is_current:
            self._show()
            if self._wanted and self._ways and not self._ways[0].queue:
                self.dismiss(self._ways[0])

    def _show(self) -> None:
        rows = self.reasons
        width = (rows.size.width or 70) - 1  # the bar's
        self._ways = ways(self._machine, self._problems, self._launcher) if self._settled else []
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
        below = len(self._ways) + 1 if self._ways else 0
        rows.styles.height = max(1, min(len(lines), self.room - below))
        rows.set_rows(Texts(lines))
        self._show_ways(width)
        errors = self.errors
        if errors:
            self.query_one("#title", Static).update(f"{printable(self._config)} cannot be trained yet", layout=False)
        keys = "⏎ go to the first problem   Esc back" if errors else "⏎ start   Esc back"
        if not self._settled:
            keys = "looking at the trainer …   " + keys
        elif self._ways:
            keys = "↑ ↓ how and when   ⏎ take it   Esc back"
        self.query_one("#keys", Static).update(keys, layout=False)

    def _show_ways(self, width: int) -> None:
        choice = self.choice
        choice.display = bool(self._ways)
        choice.styles.height = len(self._ways)
        choice.styles.margin = (1, 0, 0, 0)
        room = max((len(way.label) for way in self._ways), default=0) + 3
        choice.set_rows(
            Texts([[(f" {way.label:<{room}}", "text"), (printable(way.why), "muted")] for way in self._ways]),
            choice.cursor if choice.has_focus else 0,
        )
        if self._ways and not choice.has_focus:
            choice.focus()

    def action_yes(self) -> None:
        errors = self.errors
        if errors:
            self.dismiss(min(errors, key=lambda each: self._problems.index(each)))
        elif not self._settled:
            self._wanted = True
            self._show()
        elif self._ways:
            way = self._ways[max(0, self.choice.cursor)]
            if way.turns:
                self._launcher = way.launcher or self._launcher
                self._show()
            else:
                self.dismiss(way)


def look(
    config: Config, workspace: Workspace, settings: Settings
) -> tuple[Plan | None, tuple[Problem, ...], str, Machine]:
    """(plan, problems, what trains, what to choose from): the preflight with machine and trainer, on a thread."""
    from core.config.plan import plan
    from core.config.resolved import script_of
    from core.config.survey import Survey
    from core.runs.estimate import with_estimate
    from core.runs.ready import check_start

    survey = Survey()
    planned = plan(config, workspace, survey=survey) if not config.broken else None
    if planned is not None:
        planned = with_estimate(planned, config, workspace, settings)
    problems = tuple(check_start(config, workspace, settings, planned, survey=survey))
    if settings.trainer == "demo":
        words = "the demo trainer inside kohya-tui (it draws; it is no Stable Diffusion)"
        return planned, problems, words, machine(settings)
    where = f"{script_of(config, workspace)} of {settings.sd_scripts}" if settings.sd_scripts is not None else ""
    return planned, problems, where, machine(settings)
