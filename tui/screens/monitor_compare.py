"""One run beside another on the Monitor screen: its loss over the chart, its frozen config against this one's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.widget import Widget

from core.problems import UserError
from core.text import printable
from tui.screens.dialogs import Choose, Dialog
from tui.screens.monitor_actions import in_thread
from tui.screens.monitor_curves import curve_of, main_tag
from tui.screens.monitor_parts import is_tagging
from tui.theme import Cells
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.run_list import begun

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.runs.model import Run
    from tui.screens.monitor import MonitorScreen
    from tui.widgets.curve import Curve

_MOST = 50
_TODAY, _ITSELF = "today", "itself"


def others(screen: MonitorScreen, run: Run) -> list[Run]:
    """The other trainings, the newest first."""
    return [one for one in screen.all_runs.runs if one.id != run.id and not is_tagging(one)][:_MOST]


def _options(screen: MonitorScreen, runs: Iterable[Run]) -> list[tuple[str, str, str]]:
    """Runs of one config are told apart by their time, and by what differs."""
    now, notes = time.time(), screen.all_runs.listing.notes
    return [
        (run.id, run.spec.name, f"{run.state}  {begun(run, now, screen.size.width)}  {notes.get(run.id, '')}".rstrip())
        for run in runs
    ]


def diff(screen: MonitorScreen) -> None:
    """Ask what to hold the frozen config against: today's, another run's; or show it as it is."""
    run, workspace = screen.selected_run(), screen.app.workspace
    if run is None or workspace is None:
        return
    options: list[tuple[str, str, str]] = []
    if run.spec.config is not None:
        options.append((_TODAY, "Against today's config", f"what changed in configs/{run.spec.config} since it began"))
    options.append((_ITSELF, "As it is", "the files that this run was started with"))
    found = others(screen, run)
    options += [(run_id, f"Against {name}", note) for run_id, name, note in _options(screen, found)]
    name = printable(run.spec.name)

    def chosen(what: str | None) -> None:
        if what:
            screen.app.run_worker(_show(screen, run, what), exit_on_error=False)

    screen.app.push_screen(Choose(f"The config of {name}", options), chosen)


async def _show(screen: MonitorScreen, run: Run, what: str) -> None:
    """`what`: today's config, the frozen files themselves, or the id of another run."""
    from core.config import compare
    from tui.screens.config_diff import Diff

    workspace, name = screen.app.workspace, printable(run.spec.name)
    assert workspace is not None
    try:
        frozen = await asyncio.to_thread(compare.frozen, workspace, run.id)
        if what == _ITSELF:
            screen.app.push_screen(FilesDialog(f"The config of {name}", frozen_rows(frozen)))
            return
        if what == _TODAY:
            other = await asyncio.to_thread(compare.other, workspace, run.spec.config or "")
            title, names = f"{name}: today's config and the run's", ("today", run.id)
            screen.app.push_screen(Diff(title, names, other, frozen, by_line=False))
            return
        other = await asyncio.to_thread(compare.frozen, workspace, what)
    except UserError as error:
        screen.app.report(error)
        return
    screen.app.push_screen(Diff("The configs of two runs", (run.id, what), frozen, other, by_line=False))


def frozen_rows(config: Config) -> list[Cells]:
    """The files that a run froze, one after the other; tokens are hidden."""
    from core.config.documents import FILES
    from core.config.secrets import hidden_text

    rows: list[Cells] = []
    for file, filename in FILES.items():
        lines = hidden_text(config, file).splitlines()
        if lines:
            rows += [*([[]] if rows else []), [(f" {filename}", "text bold")]]
        for line in lines:
            role = "muted" if line.lstrip().startswith("#") else "accent" if line.startswith("[") else "text"
            rows.append([(f" {printable(line)}", role)])
    return rows


class FilesDialog(Dialog[None]):
    """Rows of files."""

    BINDINGS = [Binding("d", "cancel", "close", show=False, id="monitor.diff")]

    def __init__(self, title: str, rows: list[Cells]) -> None:
        super().__init__(title, "Esc back")
        self._rows = rows

    def compose_dialog(self) -> Iterable[Widget]:
        rows = ItemList(Texts(self._rows), id="options", empty="There are none.")
        rows.styles.height = max(1, min(len(self._rows), max(4, self.app.size.height - 10)))
        yield rows

    def on_mount(self) -> None:
        self.query_one("#dialog").styles.width = 100
        self.query_one(ItemList).focus()


def overlay(screen: MonitorScreen) -> None:
    """Choose another run whose smoothed loss is drawn beside this one's, on the same steps."""
    news = screen.news
    if news is None:
        return
    found = others(screen, news.snapshot.run)
    if not found:
        screen.notify("There is no other training to compare with.", timeout=4)
        return

    def chosen(run_id: str | None) -> None:
        run = next((run for run in found if run.id == run_id), None)
        if run is not None:
            smoothing = screen.chart.smoothing
            in_thread(screen, lambda: loss_of(run, smoothing), lambda curve: laid(run, curve))
        elif run_id == "":
            screen.show_overlay("", None)

    def laid(run: Run, curve: Curve | None) -> None:
        if curve is None or not len(curve):
            screen.notify(f"{printable(run.spec.name)} recorded no loss.", timeout=5, markup=False)
        else:
            screen.show_overlay(run.spec.name, curve)

    options = [("", "none", "take the overlay away"), *_options(screen, found)]
    screen.app.push_screen(Choose("Lay another run over the chart", options), chosen)


def loss_of(run: Run, smoothing: float) -> Curve | None:
    """The whole loss of a training, with that of the runs that it goes on from. Reads long files: on a thread."""
    from core.runs.lineage import parts_before
    from core.runs.watch import whole

    seen = whole(run)
    tag = main_tag(seen.series)
    if tag is None:
        return None
    parts = parts_before(run, seen.steps_before, seen.first_epoch) if seen.steps_before else []
    return curve_of(tag, seen.series[tag], seen.steps_before, None, parts, smoothing)
