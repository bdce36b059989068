"""The buckets of a dataset under a config: which image goes where, how it is scaled and what of it is cropped away."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.worker import Worker, WorkerState, get_current_worker

from core.dataset.bucket_report import PlacedImage, crop_box
from core.problems import Problem, Severity
from core.text import count_of, printable
from tui.screens.base import ModeScreen
from tui.screens.buckets_parts import MUCH, Bucket, BucketRows, Measured, PlacedRows, measure
from tui.theme import Cells, fit
from tui.widgets.gauges import bar
from tui.widgets.image_view import ImageView
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line, cut
from tui.widgets.lines import LiveLines

if TYPE_CHECKING:
    from tui.collection import Collection

RESOLUTIONS = ("512", "768", "1024")
"""Offered where no config says one."""


class _Stopped(Exception):
    """The user went on."""


class BucketsScreen(ModeScreen):
    """Lies over Dataset."""

    MODE = "dataset"
    CSS_PATH = "buckets.tcss"
    HELP = """
    ## Buckets

    Where sd-scripts puts each image under the config: left the buckets with their images (and how often these come with
    repeats), then the images of the bucket, the most cropped first, then the picture: what is cropped away fades.

    `!` marks a bucket whose images fill not one batch. `enter` goes to the images of a bucket, and from there to
    Review; `ctrl+o` takes another config, or a resolution.
    """
    BINDINGS = [
        Binding("ctrl+o", "choose", "config", id="buckets.open", key_display="^o", tooltip="Choose another config"),
        Binding("tab", "next_panel", "next panel", id="app.next-panel", tooltip="Next panel: buckets, images"),
        Binding("shift+tab", "next_panel", "previous panel", show=False, id="app.previous-panel"),
    ]

    where = getters.query_one("#where", Line)
    summary = getters.query_one("#summary", Line)
    buckets = getters.query_one("#buckets", ItemList)
    placed = getters.query_one("#placed", ItemList)
    picture = getters.query_one("#picture", ImageView)
    facts = getters.query_one("#facts", LiveLines)

    def __init__(self, collection: Collection) -> None:
        super().__init__()
        self._collection = collection
        self._measuring: Worker[None] | None = None
        self.measured: Measured | None = None

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        yield Line(id="summary")
        yield Line(id="heads")
        with Horizontal(id="panels"):
            yield ItemList(BucketRows(), id="buckets")
            yield ItemList(PlacedRows(), id="placed")
            with Vertical(id="side"):
                yield ImageView(top=True, id="picture")
                yield LiveLines(id="facts")

    def on_mount(self) -> None:
        self.app.dataset_changed.subscribe(self, lambda _: self._files_changed(), immediate=True)
        self.buckets.focus()
        self.call_after_refresh(self._measure, None)

    def _files_changed(self) -> None:
        if self.app.workspace is None or self.app.workspace != self._collection.workspace:
            self.app.call_later(self.dismiss)
        elif self.measured is not None:
            self._measure(self.measured.source)

    # What is measured, on a thread

    def _measure(self, source: str | None) -> None:
        self._measuring = self._work(source, self.app.active_config)
        self._tell(0)

    @work(thread=True, exclusive=True, group="buckets", exit_on_error=False)
    def _work(self, source: str | None, active: str | None) -> None:
        from core.config.bucket_view import config_buckets, configs_of, resolution_buckets
        from core.config.documents import open_config
        from core.dataset.sizes import image_size

        worker = get_current_worker()
        index, workspace = self._collection.index, self._collection.workspace
        folder = workspace.train_data / self._collection.name
        seen, due = 0, 0.0
        places: dict[Path, dict[str, int]] = {}

        def size_of(path: Path) -> tuple[int, int] | None:
            nonlocal seen, due
            if worker.is_cancelled:
                raise _Stopped
            seen += 1
            if time.monotonic() >= due:
                self.app.call_from_thread(self._tell, seen)
                due = time.monotonic() + 0.1
            parent = path.parent
            if parent not in places:
                places[parent] = {index.names[number]: number for number in index.range_in(parent)}
            number = places[parent].get(path.name)
            return (index.size(number) if number is not None and number < index.read else None) or image_size(path)

        names = configs_of(workspace, folder)
        if source is None:
            source = active if active in names else names[0] if names else RESOLUTIONS[-1]
        try:
            if source in RESOLUTIONS and source not in names:
                parts = [resolution_buckets(folder, (int(source), int(source)), size_of)]
            else:
                parts = config_buckets(open_config(workspace, source), workspace, folder, size_of)
        except _Stopped:
            return
        self.app.call_from_thread(self._took, worker, measure(parts, source, names))

    def _took(self, worker: Worker[None], measured: Measured) -> None:
        if worker is not self._measuring or not self.is_attached:
            return
        self._measuring, self.measured = None, measured
        self.buckets.set_rows(BucketRows(measured.buckets), max(0, self.buckets.cursor))
        self.buckets.empty = "there are no images here"
        self.show_problem_count()
        self._tell(0)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is self._measuring and event.state is WorkerState.ERROR:
            self._measuring = None
            self._tell(0)
            if event.worker.error is not None:
                self.app.report(event.worker.error)

    @work(exit_on_error=False)
    async def action_choose(self) -> None:
        from tui.screens.dialogs import Choose

        names = self.measured.others if self.measured is not None else ()
        options = [(name, printable(name), "config") for name in names]
        options += [(side, f"{side}×{side}", "resolution, without a config") for side in RESOLUTIONS]
        now = self.measured.source if self.measured is not None else None
        chosen = await self.app.push_screen_wait(Choose("Buckets of", options, chosen=now))
        if chosen is not None:
            self._measure(chosen)

    # What is shown

    def problems(self) -> tuple[Problem, ...]:
        found = self.measured
        key = self._collection.workspace.key_of
        return tuple(
            Problem(Severity.ERROR, "KT142", key(path), "is not an image that can be read", "Replace it, or trash it.")
            for part in (found.parts if found is not None else ())
            for path in part.unread
        )

    def go_to_problem(self, problem: Problem) -> None:
        self.app.review_item = self._collection.workspace.root / problem.where
        self.dismiss()

    def _tell(self, seen: int) -> None:
        found = self.measured
        left: Cells = [(" Buckets", "accent bold"), (f" · {printable(self._collection.name)}", "muted")]
        if self._measuring is not None:
            total = max(seen, len(self._collection.index))
            share = seen / total if total else 1.0
            self.where.set(left, [*bar([(share, "accent")], 16), (f" {seen:,}  ", "text"), ("Esc stops ", "muted")])
            return
        if found is None:
            self.where.set(left, [("^o", "accent"), (" takes another config ", "muted")])
            return
        if found.source in RESOLUTIONS and found.source not in found.others:
            left.append((" · no config", "muted"))
        else:
            left += [(" · config ", "muted"), (printable(found.source), "text")]
        if len(found.parts) == 1:
            (width, height), batch = found.parts[0].settings.resolution, found.parts[0].report.batch_size
            left.append((f" · {width}×{height}, batch of {batch}", "text"))
            if not found.parts[0].settings.enable:
                left.append((" · no buckets", "caution"))
        buckets = [bucket for bucket in found.buckets if bucket.size is not None]
        small = sum(bucket.is_small for bucket in buckets)
        self.where.set(left, [(f"{count_of(len(buckets), 'bucket')} ", "text")])
        notes: list[str] = []
        if small:
            notes.append(f"{small} smaller than the batch")
        if found.upscaled:
            notes.append(f"{count_of(found.upscaled, 'image')} scaled up")
        if found.cropped:
            notes.append(f"{count_of(found.cropped, 'image')} cropped by a tenth or more")
        marked: Cells = [(" ! ", "caution"), (" · ".join(notes), "text")]
        self.summary.set(marked if notes else [(" nothing is scaled up or cropped by much", "muted")])

    def on_descendant_focus(self) -> None:
        self._head()

    @on(ItemList.Moved, "#buckets")
    def _bucket_moved(self) -> None:
        self.placed.set_rows(PlacedRows(self.bucket.images if self.bucket is not None else ()), 0)
        self._show()

    @property
    def bucket(self) -> Bucket | None:
        """The bucket under the cursor."""
        found, at = self.measured, self.buckets.cursor
        return found.buckets[at] if found is not None and 0 <= at < len(found.buckets) else None

    @property
    def image(self) -> PlacedImage | None:
        """The image under the cursor of the second list."""
        images, at = self.bucket.images if self.bucket is not None else (), self.placed.cursor
        return images[at] if 0 <= at < len(images) else None

    def on_resize(self) -> None:
        self.call_after_refresh(self._head)
        self.call_after_refresh(self._show)

    def _head(self) -> None:
        """What the columns are, above those lists that are seen."""
        cells: Cells = []
        if self.buckets.display:
            text = f"  {'bucket':<10}{'images':>7}{'repeated':>10}"
            cells.append((fit(text, self.buckets.region.width), "accent" if self.focused is self.buckets else "muted"))
        if self.placed.display:
            room = self.placed.region.width
            text = "image" if room < 43 else f"image{'size':>{room - 26}}"
            role = "accent" if self.focused is self.placed else "muted"
            cells.append((f" {fit(f' {text}', room - 19)}{'scale':>8}{'cropped':>9}", role))
        self.query_one("#heads", Line).set(cells)

    @on(ItemList.Moved, "#placed")
    def _show(self) -> None:
        image = self.image
        if image is None:
            self.picture.show(None)
            self.facts.show([])
            return
        left, top, right, bottom = crop_box(image.size, image.choice)
        (width, height), (across, down) = image.size, image.choice.bucket
        self.picture.show(image.path, kept=(left / width, top / height, right / width, bottom / height))
        room = self.facts.size.width or 29  # as in 80 columns, where it is about to be shown
        crop: Cells = [("nothing cropped", "muted")]
        if image.cropped >= 0.0005:
            side = "left and right" if right - left < width else "top and bottom"
            crop = [(f"{100 * image.cropped:.1f} %", "caution" if image.cropped >= MUCH else "text")]
            crop.append((f" cropped, {side}", "muted"))
        scaled: Cells = [(f"scale {image.scale:.2f}", "caution" if image.scale > 1 else "text")]
        if image.scale > 1:
            scaled.append(("  smaller than the bucket: scaled up", "caution"))
        lines: list[Cells] = [
            [(fit(printable(image.path.name), room, middle=True).rstrip(), "text bold")],
            [(f"{width}×{height} → ", "muted"), (f"{across}×{down}", "second"), (" bucket", "muted")],
            scaled,
            crop,
        ]
        self.facts.show([cut(line, room) for line in lines])

    # Going about

    def step_back(self) -> bool:
        if self._measuring is not None and self.measured is not None:
            self._measuring.cancel()
            self._measuring = None
            self._tell(0)
            return True
        if self.focused is self.placed:
            self._go(images=False)
            return True
        if self._measuring is not None:
            self._measuring.cancel()
        return False

    def _go(self, images: bool) -> None:
        self.query_one("#panels").set_class(images, "-images")
        (self.placed if images else self.buckets).focus()
        self.call_after_refresh(self._head)
        self.call_after_refresh(self._show)

    def action_next_panel(self) -> None:
        self._go(images=self.focused is self.buckets and self.bucket is not None)

    @on(ItemList.Opened, "#buckets")
    def _opened(self) -> None:
        self._go(images=self.bucket is not None)

    @on(ItemList.Opened, "#placed")
    async def _review(self) -> None:
        if self.image is not None:
            await self.app.open_review(self.image.path)
