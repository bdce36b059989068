"""The runs of a sweep beside each other: one chart with all their smoothed losses, one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual import getters, on, work
from textual.binding import Binding
from textual.widget import Widget

from core.text import human_seconds, printable
from tui.screens.dialogs import Dialog
from tui.screens.monitor_actions import in_thread
from tui.theme import Cells
from tui.widgets.chart import LossChart, coloured
from tui.widgets.curve import Curve
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.run_list import GLYPHS

if TYPE_CHECKING:
    from core.runs.model import Run
    from core.runs.sweep import Row
    from tui.screens.monitor import MonitorScreen
    from tui.screens.sample_boards import Board

_HEAD = ("label", "state", "step", "final", "lowest", "average", "valid.", "time")
_SPARE = (5, 7, 4, 2)
"""Columns that a narrow terminal does without, the first one first."""


def compare(screen: MonitorScreen, run: Run) -> None:
    """Read the sweep of this run on a thread, then show it."""
    workspace, group = screen.app.workspace, run.spec.group
    if workspace is None or group is None:
        return
    sweep_id = str(group.get("id"))

    def read() -> tuple[list[Row], list[tuple[str, Curve]]]:
        from core.runs.sweep import compare as rows_of
        from core.runs.sweep import find

        rows = rows_of(find(workspace, sweep_id)[1])
        curves = []
        for row in rows:
            curve = Curve(round(min(0.99, max(0.8, 1 - 20 / max(1, len(row.curve)))), 2))  # some twenty points count
            curve.extend(row.curve)
            curves.append((row.label, curve))
        return rows, curves

    def show(found: tuple[list[Row], list[tuple[str, Curve]]]) -> None:
        def chosen(run_id: str | None) -> None:
            if run_id:
                screen.show_run(run_id)

        screen.app.push_screen(SweepDialog(sweep_id, *found), chosen)

    in_thread(screen, read, show)


class SweepDialog(Dialog[str]):
    """Enter opens the run under the cursor, whose curve is drawn in front with its raw values."""

    HELP = (
        "Rows are the runs of a sweep; the curve of the one under the cursor is drawn in front. Enter opens it, S lays "
        "the newest pictures of all runs beside each other, prompt by prompt: the loss does not tell which is best."
    )
    BINDINGS = [Binding("S", "samples", "samples", show=False, id="monitor.samples")]

    chart = getters.query_one("#sweep-chart", LossChart)
    rows = getters.query_one("#options", ItemList)

    def __init__(self, sweep_id: str, rows: list[Row], curves: list[tuple[str, Curve]]) -> None:
        super().__init__(f"Sweep {printable(sweep_id)}", "⏎ open the run   S samples side by side   Esc back")
        self._found, self._curves, self._sweep = rows, curves, printable(sweep_id)

    def compose_dialog(self) -> Iterable[Widget]:
        yield LossChart(averages=True, on="surface", id="sweep-chart")
        yield ItemList(id="options", on="surface")

    def on_mount(self) -> None:
        self.query_one("#dialog").styles.width = 116
        self._fit()
        self.rows.focus()
        self._draw(0)

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        height, width = self.app.size.height, min(116, self.app.size.width * 96 // 100) - 5
        inside = height * 92 // 100 - 6
        shown = min(len(self._found) + 1, max(3, inside // 2))
        self.rows.styles.height = shown
        self.chart.styles.height = max(0, inside - shown - 1)
        self.chart.display = inside - shown > 5
        self.rows.set_rows(Texts(table(self._found, width)), max(1, self.rows.cursor))

    def _draw(self, index: int) -> None:
        """The run under the cursor in front, the others that have points behind it."""
        if not self._curves:
            return
        name, curve = self._curves[index]
        others = [each for at, each in enumerate(self._curves) if at != index and len(each[1])]
        self.chart.series = printable(name)
        self.chart.set_frame(total_steps=self._found[index].total_steps, ended=True)
        self.chart.replace(curve, coloured(others))

    @on(ItemList.Moved)
    def _moved(self, event: ItemList.Moved) -> None:
        if event.index > 0:
            self._draw(event.index - 1)

    def action_samples(self) -> None:
        self._read_samples()

    @work(thread=True, exclusive=True, group="sweep-samples", exit_on_error=False, description="read the samples")
    def _read_samples(self) -> None:
        from tui.screens.sample_boards import of_sweep

        board = of_sweep(self._sweep, [(printable(row.label), row.run) for row in self._found])
        self.app.call_from_thread(self._show_samples, board)

    def _show_samples(self, board: Board) -> None:
        from tui.screens.monitor_samples import SamplesScreen

        if not self.is_current:
            return
        if board.cells:
            self.app.push_screen(SamplesScreen(board))
        else:
            self.notify("No run of this sweep drew samples. sample_every_n_epochs in its config asks for them.")

    @on(ItemList.Opened)
    def _opened(self, event: ItemList.Opened) -> None:
        if event.index > 0:
            self.dismiss(self._found[event.index - 1].run.id)


def table(found: list[Row], width: int) -> list[Cells]:
    """A head and a row for each run, as many columns as fit."""
    texts = [list(_HEAD)]
    for row in found:
        steps = f"{row.step or 0:,}/{row.total_steps:,}" if row.total_steps else "–"
        losses = [_loss(value) for value in (row.final, row.lowest, row.average, row.validation)]
        time = human_seconds(row.seconds) if row.seconds is not None else "–"
        texts.append([printable(row.label), str(row.run.state), steps, *losses, time])
    shown = list(range(len(_HEAD)))
    widths = [max(cell_len(line[column]) for line in texts) for column in shown]
    for column in _SPARE:
        if sum(widths[each] + 2 for each in shown) + 3 > width:
            shown.remove(column)
    lines: list[Cells] = []
    for number, line in enumerate(texts):
        glyph, role = GLYPHS.get(str(found[number - 1].run.state), ("·", "muted")) if number else (" ", "muted")
        cells: Cells = [(f" {glyph} ", role)]
        for column in shown:
            space = " " * (widths[column] - cell_len(line[column]))
            text = line[column] + space if column < 2 else space + line[column]
            cells.append((f"{text}  ", "muted" if not number or column == 1 else "text"))
        lines.append(cells)
    return lines


def _loss(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "–"
