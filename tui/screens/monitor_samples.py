"""All sample pictures of a run: a row for each prompt, a column for each epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget

from core.text import human_age, printable
from tui.screens.monitor_parts import sample_label
from tui.widgets.gauges import wrapped
from tui.widgets.image_view import ImageView
from tui.widgets.lines import LiveLines
from tui.widgets.tiles import Tile, TileGrid
from tui.wiring import OurApp

if TYPE_CHECKING:
    from core.runs.artifacts import SampleImage
    from core.runs.watch import RunSnapshot


LOOK_SECONDS = 2.0


class SamplesScreen(ModalScreen[None]):
    """Arrows move, Enter shows one picture large; left and right then go through the epochs."""

    app = OurApp()
    HELP = "Rows are prompts, columns are epochs. Arrows move, Enter zooms, Esc goes back."
    BINDINGS = [
        Binding("escape", "back", "one step back", show=False, id="app.back"),
        Binding("q,S", "close", "leave", show=False, id="app.leave"),
        Binding("left,h", "move(0,-1)", "left", show=False, id="list.left"),
        Binding("right,l", "move(0,1)", "right", show=False, id="list.right"),
        Binding("up,k", "move(-1,0)", "up", show=False, id="list.up"),
        Binding("down,j", "move(1,0)", "down", show=False, id="list.down"),
        Binding("g,home", "move(0,-9999)", "first", show=False, id="list.first"),
        Binding("G,end", "move(0,9999)", "last", show=False, id="list.last"),
        Binding("enter", "zoom", "zoom", show=False, id="list.open"),
    ]
    grid = getters.query_one("#grid", TileGrid)

    def __init__(self, snapshot: RunSnapshot, at: SampleImage | None = None) -> None:
        from core.runs.watch import prompts_of

        super().__init__()
        self._run = snapshot.run
        self._name_of_run = printable(snapshot.run.spec.name)
        self._prompts = prompts_of(snapshot.run.dir)
        self._at = at
        self._samples = snapshot.samples
        self._arrange()

    def _arrange(self) -> None:
        self._columns: list[str] = []
        self._cells: dict[tuple[int, str], SampleImage] = {}
        for sample in self._samples:
            label = sample_label(sample)
            if label not in self._columns:
                self._columns.append(label)
            self._cells[sample.prompt_index, label] = sample
        self._indices = sorted({index for index, _ in self._cells})

    def compose(self) -> ComposeResult:
        with Vertical(id="samples"):
            yield from self._parts()

    def _parts(self) -> Iterable[Widget]:
        yield LiveLines(id="samples-head")
        yield TileGrid(id="grid")
        yield ImageView(id="zoom")
        yield LiveLines(id="prompt")

    def on_mount(self) -> None:
        self._fill()
        if self._run.live:
            self.set_interval(LOOK_SECONDS, self._look)
        if self._at is not None:
            self.grid.move(self._indices.index(self._at.prompt_index), self._columns.index(sample_label(self._at)))
        else:
            self.grid.move(0, len(self._columns) - 1)
        self.call_after_refresh(self._tell)

    def _fill(self) -> None:
        tiles = [[self._tile(index, label) for label in self._columns] for index in self._indices]
        self.grid.set_tiles(self._columns, tiles)

    @work(thread=True, exclusive=True, group="samples", exit_on_error=False, description="look for samples")
    def _look(self) -> None:
        """Pictures that were drawn meanwhile."""
        from core.runs.artifacts import samples

        found = samples(self._run)
        if found != self._samples:
            self.app.call_from_thread(self._take, found)

    def _take(self, found: tuple[SampleImage, ...]) -> None:
        """The cursor stays on its picture, or goes on with the newest when it was there."""
        if not self.is_attached or not found:
            return
        row, column = self.grid.cursor or (0, 0)
        newest = column >= len(self._columns) - 1
        self._samples = found
        self._arrange()
        self._fill()
        if newest and not self.has_class("-zoomed"):
            self.grid.move(row, len(self._columns) - 1)
        self._tell()

    def on_resize(self) -> None:
        rows, columns = min(2, len(self._indices) or 1), min(4, len(self._columns) or 1)
        by_height = (self.size.height - 8) // rows - 1
        by_width = (self.size.width // columns - 1) // 2
        tall = max(4, min(24, by_height, by_width))
        self.grid.tile_size = (2 * tall, tall)
        self.call_after_refresh(self._tell)

    def _tile(self, index: int, label: str) -> Tile | None:
        sample = self._cells.get((index, label))
        return None if sample is None else Tile(sample.path, sample.mtime)

    @property
    def current(self) -> SampleImage | None:
        """The picture under the cursor."""
        row, column = self.grid.cursor or (0, 0)
        if row >= len(self._indices) or column >= len(self._columns):
            return None
        return self._cells.get((self._indices[row], self._columns[column]))

    def _tell(self) -> None:
        import time

        head = self.query_one("#samples-head", LiveLines)
        row, column = self.grid.cursor or (0, 0)
        sample = self.current
        facts = [(f" {self._name_of_run}", "accent bold"), (f"   {self._columns[column]}", "text bold")]
        if sample is not None:
            seed = f" · seed {sample.seed}" if sample.seed is not None else ""
            facts.append(
                (f" of {len(self._columns)}{seed} · {human_age(max(0.0, time.time() - sample.mtime))}", "muted")
            )
        head.show([facts])
        index = self._indices[row]
        prompt = self._prompts[index] if index < len(self._prompts) else ""
        panel = self.query_one("#prompt", LiveLines)
        text = wrapped(printable(prompt), max(10, panel.size.width - 4), 2)
        lines = [
            [(f" {index + 1:>2} ", "muted"), (text[0], "text")],
            *[[("    ", "text"), (part, "text")] for part in text[1:]],
        ]
        keys = " arrows move   ⏎ zoom   Esc back" if not self.has_class("-zoomed") else " ◂ ▸ epochs   ⏎ or Esc back"
        panel.show([*lines, [(keys, "muted")]])

    def action_move(self, rows: int, columns: int) -> None:
        row, column = self.grid.cursor or (0, 0)
        self.grid.move(row + rows, column + columns)
        self._tell()
        if self.has_class("-zoomed") and self.current is not None:
            self.query_one("#zoom", ImageView).show(self.current.path)

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")
        view = self.query_one("#zoom", ImageView)
        view.show(self.current.path if self.has_class("-zoomed") and self.current is not None else None, now=True)
        self._tell()

    def action_back(self) -> None:
        if self.has_class("-zoomed"):
            self.action_zoom()
        else:
            self.dismiss(None)

    def action_close(self) -> None:
        self.dismiss(None)
