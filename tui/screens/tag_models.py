"""The model list: what is known, what is on disk, and fetching one now instead of at the start of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.binding import Binding
from textual.widget import Widget

from core.text import human_bytes, printable
from tui.screens.dialogs import Dialog
from tui.screens.tag_progress import fetching_cells
from tui.theme import Cells, fit
from tui.widgets.gauges import wrapped
from tui.widgets.item_list import ItemList
from tui.widgets.line import Lines, cut

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel

OTHER = "\0other"


@dataclass(frozen=True, slots=True)
class Fetching:
    """How far a download is. `rate` is bytes a second since it began."""

    name: str
    done: int = 0
    total: int = 0
    rate: float | None = None

    def cells(self, width: int) -> Cells:
        """One line about it."""
        return fetching_cells(self.name, self.done, self.total, self.rate, width)


def fetch(
    model: TaggerModel,
    folder: Path | None,
    is_forced: bool,
    should_stop: Callable[[], bool],
    told: Callable[[Fetching], None],
) -> bool:
    """Download a model; True when it is complete. Blocks: on a thread. Raises UserError with the remedy."""
    from core.tagging.download import download

    begun, before = time.monotonic(), None
    last = 0.0
    for progress in download(model, folder, force=is_forced, should_stop=should_stop):
        before = progress.done if before is None else before
        now = time.monotonic()
        if now - last >= 0.2 or progress.done == progress.total:
            last = now
            rate = (progress.done - before) / (now - begun) if now - begun > 1 else None
            told(Fetching(model.name, progress.done, progress.total, rate or None))
    return not should_stop()


class ModelRows:
    """One line a model, and one for a model that is not in the list."""

    def __init__(self, models: Sequence[TaggerModel], chosen: str | None) -> None:
        self.models, self.chosen = models, chosen

    def __len__(self) -> int:
        return len(self.models) + 1

    def cells(self, index: int, width: int) -> Cells:
        if index == len(self.models):
            return [("   another …", "text"), ("   a repository or a folder", "muted")]
        model = self.models[index]
        dot = "●" if model.name == self.chosen else " "
        room = max(16, width - 36)
        state = ("on disk", "good") if model.is_on_disk else ("", "muted")
        size = human_bytes(model.bytes) if model.bytes else ""
        licence = fit(printable(model.licence), 13)
        name: Cells = [(f" {dot} ", "accent"), (fit(_short(model.name, room), room), "text")]
        return [*name, (f"{size:>8}  ", "muted"), (f"{state[0]:<8}", state[1]), (licence, "muted")]


class ModelList(Dialog[str]):
    """Dismisses with a model's name, with `OTHER`, or None. The screen behind it fetches, and calls `tell`."""

    BINDINGS: ClassVar = [
        Binding("i", "fetch", "fetch", id="models.import"),
        Binding("X", "stop", "stop", id="run.stop"),
    ]

    def __init__(
        self,
        models: Sequence[TaggerModel],
        chosen: str | None,
        begin: Callable[[TaggerModel], None],
        stop: Callable[[], None],
    ) -> None:
        super().__init__("Model", "⏎ take it   i fetch it now   X stop fetching   Esc back")
        self._models, self._chosen = models, chosen
        self._begin, self._stop = begin, stop
        self._fetching: Fetching | None = None

    def compose_dialog(self) -> Iterable[Widget]:
        rows = ItemList(ModelRows(self._models, self._chosen), id="options", on="surface")
        rows.styles.height = min(len(self._models) + 1, max(4, self.app.size.height - 16))
        rows.cursor = next((at for at, each in enumerate(self._models) if each.name == self._chosen), 0)
        yield rows
        about = Lines(id="plan", on="surface")
        about.styles.height = 4
        yield about

    def on_mount(self) -> None:
        self.add_class("-page")
        self.query_one("#dialog").styles.height = "auto"
        self.query_one(ItemList).focus()
        self.call_after_refresh(self._about)

    def tell(self, models: Sequence[TaggerModel], fetching: Fetching | None) -> None:
        """The models as they are now, and how far the download is."""
        self._fetching = fetching
        if models != self._models:
            self._models = models
            self.query_one(ItemList).set_rows(ModelRows(models, self._chosen))
        self._about()

    @property
    def model(self) -> TaggerModel | None:
        """The one under the cursor."""
        at = self.query_one(ItemList).cursor
        return self._models[at] if 0 <= at < len(self._models) else None

    def _about(self) -> None:
        panel, model = self.query_one("#plan", Lines), self.model
        width = panel.size.width or 60
        lines: list[Cells] = [[]]
        if self._fetching is not None:
            lines.append(self._fetching.cells(width))
        if model is not None:
            told = [model.name, model.licence, printable(model.note)]
            told += ["wants a token of Hugging Face (HF_TOKEN), and its terms accepted"] if model.is_gated else []
            told += [f"its author's threshold: {model.threshold:.2f}"] if model.threshold else []
            if model.folder is not None:
                told.append(f"in {printable(str(model.folder))}")
            text = " · ".join(filter(None, told))
            lines += [[(f" {line}", "muted")] for line in wrapped(text, width - 2, 4 - len(lines))]
        panel.show([cut(line, width) for line in lines])

    @on(ItemList.Moved)
    def _moved(self) -> None:
        self._about()

    @on(ItemList.Opened)
    def _taken(self) -> None:
        model = self.model
        self.dismiss(OTHER if model is None else model.name)

    def action_fetch(self) -> None:
        model = self.model
        if model is None:
            return
        if model.is_local or model.name == "demo":
            self.app.notify("It is a folder on this machine: there is nothing to fetch.")
        else:
            self._begin(model)

    def action_stop(self) -> None:
        self._stop()


def _short(name: str, room: int) -> str:
    """The name, without its owner where there is no room for both."""
    name = printable(name)
    return name if len(name) <= room else name.rpartition("/")[2]
