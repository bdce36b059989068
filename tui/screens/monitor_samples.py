"""All sample pictures of a run, or of a sweep: a row for each prompt, a column for each epoch or run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual import getters, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget

from core.text import human_age, printable
from tui.screens.monitor_parts import sample_label
from tui.theme import Cells
from tui.widgets.gauges import wrapped
from tui.widgets.image_view import ImageView
from tui.widgets.line import spread
from tui.widgets.lines import LiveLines, width_of
from tui.widgets.tiles import Tile, TileGrid
from tui.wiring import OurApp

if TYPE_CHECKING:
    from core.runs.artifacts import SampleImage
    from tui.screens.sample_boards import Board

LOOK_SECONDS = 2.0


class SamplesScreen(ModalScreen[None]):
    """Arrows move, Enter shows one picture large; left and right then go through the epochs."""

    app = OurApp()
    HELP = (
        "Rows are prompts, columns are epochs (of a sweep: its runs). Arrows move, Enter zooms, y copies the path of "
        "the checkpoint that was saved with the picture (◆), Esc goes back."
    )
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
        Binding("y", "copy", "copy the checkpoint's path", show=False, id="list.copy"),
    ]
    grid = getters.query_one("#grid", TileGrid)

    def __init__(self, board: Board, again: Callable[[], Board] | None = None, at: str | None = None) -> None:
        """`again` looks for what was drawn meanwhile, on a thread. `at`: the column to begin with, else the last."""
        super().__init__()
        self._board, self._again, self._column = board, again, at

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
        if self._again is not None:
            self.set_interval(LOOK_SECONDS, self._look)
        columns = self._board.columns
        self.grid.move(0, columns.index(self._column) if self._column in columns else len(columns) - 1)
        self.call_after_refresh(self._tell)

    def _fill(self) -> None:
        board = self._board
        tiles = [[self._tile(index, column) for column in board.columns] for index in board.rows]
        self.grid.set_tiles([f"{column} ◆" if column in board.saved else column for column in board.columns], tiles)

    @work(thread=True, exclusive=True, group="samples", exit_on_error=False, description="look for samples")
    def _look(self) -> None:
        """Pictures that were drawn meanwhile."""
        if self._again is not None and (found := self._again()) != self._board:
            self.app.call_from_thread(self._take, found)

    def _take(self, found: Board) -> None:
        """The cursor stays on its picture, or goes on with the newest when it was there."""
        if not self.is_attached or not found.cells:
            return
        row, column = self.grid.cursor or (0, 0)
        newest = column >= len(self._board.columns) - 1
        self._board = found
        self._fill()
        if newest and not self.has_class("-zoomed"):
            self.grid.move(row, len(found.columns) - 1)
        self._tell()

    def on_resize(self) -> None:
        rows, columns = min(2, len(self._board.rows) or 1), min(4, len(self._board.columns) or 1)
        by_height = (self.size.height - 8) // rows - 1
        by_width = (self.size.width // columns - 1) // 2
        tall = max(4, min(24, by_height, by_width))
        self.grid.tile_size = (2 * tall, tall)
        self.call_after_refresh(self._tell)

    def _tile(self, index: int, column: str) -> Tile | None:
        sample = self._board.cells.get((index, column))
        return None if sample is None else Tile(sample.path, sample.mtime)

    @property
    def _here(self) -> tuple[int, str]:
        """Prompt and column under the cursor."""
        row, column = self.grid.cursor or (0, 0)
        rows, columns = self._board.rows, self._board.columns
        return (rows[row], columns[column]) if row < len(rows) and column < len(columns) else (0, "")

    @property
    def current(self) -> SampleImage | None:
        """The picture under the cursor."""
        return self._board.cells.get(self._here)

    def _tell(self) -> None:
        head = self.query_one("#samples-head", LiveLines)
        (index, column), board, sample = self._here, self._board, self.current
        facts: Cells = [
            (board.title, "accent bold"),
            (f"   {column}", "text bold"),
            (f" of {len(board.columns)}", "muted"),
        ]
        if sample is not None:
            label = sample_label(sample)
            epoch = f" · {label}" if label != column else ""
            seed = f" · seed {sample.seed}" if sample.seed is not None else ""
            facts.append((f"{epoch}{seed} · {human_age(max(0.0, time.time() - sample.mtime))}", "muted"))
        right: Cells = [("no checkpoint was saved with it", "muted")]
        if (saved := board.saved.get(column)) is not None:
            right = [("◆ ", "second"), (printable(saved.name), "text")]
        if width_of([*facts, *right]) + 2 > head.size.width:
            right = []
        head.show([spread(facts, right, head.size.width)])
        panel = self.query_one("#prompt", LiveLines)
        prompt = board.prompts[index] if index < len(board.prompts) else ""
        text = wrapped(printable(prompt), max(10, panel.size.width - 4), 2)
        lines: list[Cells] = [
            [(f"{index + 1:>2}  ", "muted"), (text[0], "text")],
            *[[("    ", "text"), (part, "text")] for part in text[1:]],
        ]
        copy = "   y copies the path of ◆" if saved is not None else ""
        keys = f"arrows move   ⏎ zoom{copy}   Esc back"
        if self.has_class("-zoomed"):
            keys = f"◂ ▸ columns{copy}   ⏎ or Esc back"
        panel.show([*lines, [(keys, "muted")]])

    def action_copy(self) -> None:
        """The path of the checkpoint whose pictures these are."""
        saved = self._board.saved.get(self._here[1])
        if saved is None:
            self.notify("No checkpoint was saved with this picture: ◆ marks the columns that have one.", timeout=5)
        else:
            self.app.copy_to_clipboard(str(saved.path))
            self.notify(f"The path of {printable(saved.name)} was copied.", timeout=3, markup=False)

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
