"""Datasets and folders of a config as a table, one of them as a form below: its own values and what it inherits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textual import on
from textual.message import Message

from core.config import subsets
from core.config.schema import dataset_field
from core.text import count_of, printable
from tui.screens.config_form import display, kind_of
from tui.theme import Cells, fit
from tui.widgets.form import Field
from tui.widgets.item_list import ItemList
from tui.widgets.sheet import Sheet, SheetRows, Wish

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.config.subsets import Node

_SAID = {"image_dir", "num_repeats", "metadata_file"}
"""What the table shows in columns of its own."""
_OF_DATASET = ("resolution", "batch_size", "enable_bucket", "min_bucket_reso", "max_bucket_reso")


_NUMBERS = 29
"""Cells of repeats, pictures and pictures an epoch, with the gap behind them."""


def _room(width: int) -> int:
    """Cells for the path of a folder."""
    return max(12, min(40, width - 3 - _NUMBERS))


def _head(width: int) -> str:
    return f"   {fit('folder', _room(width))}{'repeats':>7}{'pictures':>10}{'an epoch':>10}"


class FolderRows:
    """[general], each dataset, and its folders with repeats, pictures and what they set themselves."""

    def __init__(self, config: Config, counts: Mapping[str, int | None]) -> None:
        self.nodes = subsets.tree(config)
        self._config, self._counts = config, counts

    def __len__(self) -> int:
        return len(self.nodes)

    def cells(self, index: int, width: int) -> Cells:
        node = self.nodes[index]
        if node.level == "general":
            said = ", ".join(f"{key} {display(value)}" for key, value in node.own.items()) or "nothing"
            return [(" [general]  ", "text bold"), (fit(printable(said), max(8, width - 13)), "muted")]
        if node.level == "datasets":
            return [(f" Dataset {node.dataset + 1}  ", "text bold"), (self._dataset(node), "muted")]
        repeats = subsets.inherited(self._config, node, "num_repeats").value
        count = self._counts.get(node.place)
        room = _room(width)
        whole = count * repeats if isinstance(repeats, int) and count is not None else None
        cells: Cells = [(f"   {fit(printable(node.folder or '–'), room, middle=True)}", "text")]
        cells.append((f"{'×' + display(repeats):>7}", "text" if "num_repeats" in node.own else "muted"))
        shown = "–" if count is None else f"{count:,}" if count else "none"
        cells.append((f"{shown:>10}", "bad" if count == 0 else "text"))
        cells.append((f"{'' if whole is None else format(whole, ','):>10}  ", "muted"))
        kind = "" if node.kind == "images" else node.kind
        own = [f"{key} {display(value)}" for key, value in node.own.items() if key not in _SAID | {"is_reg"}]
        left = width - 3 - room - _NUMBERS
        if kind and left > len(kind):
            cells.append((kind + "  ", "second"))
            left -= len(kind) + 2
        if own and left > 8:
            cells.append((fit(printable(", ".join(own)), left), "muted"))
        return cells

    def _dataset(self, node: Node) -> str:
        values = {key: subsets.inherited(self._config, node, key).value for key in _OF_DATASET}
        size = values["resolution"]
        parts = [f"{size[0]}×{size[-1]}" if isinstance(size, list) and size else f"{display(size)} px"]
        parts.append(f"batch {display(values['batch_size'])}")
        if values["enable_bucket"]:
            parts.append(f"buckets {display(values['min_bucket_reso'])}-{display(values['max_bucket_reso'])}")
        else:
            parts.append("no buckets")
        return printable(" · ".join(parts))


class FolderSheet(Sheet):
    """What is typed in its form goes up as the form's own messages; a key is datasets[0].subsets[1].flip_aug."""

    class Wanted(Message):
        """Something is to be done to a dataset or folder."""

        def __init__(self, wish: Wish, node: Node | None) -> None:
            super().__init__()
            self.wish, self.node = wish, node

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(label_width=24, empty="No folder yet: a adds one.", id=id)
        self._config: Config | None = None
        self._problems: Mapping[str, tuple[str, str, str]] = {}

    def tell(
        self,
        config: Config,
        counts: Mapping[str, int | None],
        problems: Mapping[str, tuple[str, str, str]],
        place: str | None = None,
    ) -> None:
        """Show the dataset file; the cursor goes to `place` (or to what a key is in), else it stays."""
        now = place if place is not None else self.node.place if self.node is not None else None
        self._config, self._problems = config, problems
        rows = FolderRows(config, counts)
        wanted = {now, (now or "").rpartition(".")[0]} if place is not None else {now}
        found = [index for index, node in enumerate(rows.nodes) if node.place in wanted]
        at = found[-1] if found else None
        if at is None:
            at = next((index for index, node in enumerate(rows.nodes) if node.level == "subsets"), 0)
        self.show(_head, rows, at)
        self._show_node()

    @property
    def node(self) -> Node | None:
        """The dataset or folder under the cursor."""
        rows, at = self.table.rows, self.table.cursor
        return rows.nodes[at] if isinstance(rows, FolderRows) and 0 <= at < len(rows) else None

    def _show_node(self) -> None:
        node, config = self.node, self._config
        if node is None or config is None:
            self.show_fields([], [])
            return
        said = {
            "general": "what all datasets share",
            "datasets": f"what its {count_of(self._folders(node), 'folder')} share",
        }.get(node.level) or subsets.KINDS[node.kind]
        title: Cells = [(f" {node.place}", "accent"), (f"  {said}", "muted")]
        if node.level != "general":
            mixed = subsets.mixture(
                subsets.tree(config), node.dataset, masked_loss=config.get("train", "masked_loss") is True
            )
            if mixed:
                title.append((f"   {mixed}", "bad"))
        self.show_fields(title, [self._field(config, node, key) for key in subsets.keys_of(node)])

    def _folders(self, node: Node) -> int:
        rows = self.table.rows
        assert isinstance(rows, FolderRows)
        return sum(each.level == "subsets" and each.dataset == node.dataset for each in rows.nodes)

    def _field(self, config: Config, node: Node, key: str) -> Field:
        found = subsets.inherited(config, node, key)
        name = f"{node.place}.{key}"
        option = dataset_field(key)
        role = "muted" if found.source else "text"
        shown = "–" if found.value in (None, "") else display(found.value)
        source = "" if found.source in {"", "default"} else f"from {_SOURCES[found.source]}"
        return Field(
            name,
            key,
            [(shown, role)],
            kind_of(option) if option is not None else "text",
            raw="" if found.source or found.value is None else display(found.value),
            note=source,
            problem=self._problems.get(name),
            mark=("•", "accent") if not found.source else None,
        )

    @on(ItemList.Moved)
    def _moved(self, event: ItemList.Moved) -> None:
        event.stop()
        if event.list is self.table:
            self._show_node()

    @on(SheetRows.Wanted)
    def _wanted(self, event: SheetRows.Wanted) -> None:
        event.stop()
        self.post_message(self.Wanted(event.wish, self.node))


_SOURCES = {"dataset": "its dataset", "general": "[general]", "train.toml": "train.toml"}
