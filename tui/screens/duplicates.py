"""The duplicates of what Dataset shows: groups side by side, the largest proposed to stay, the rest one key away."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.worker import Worker, WorkerState, get_current_worker

from core.problems import Problem, Severity
from core.text import count_of, printable
from tui.screens.base import ModeScreen
from tui.screens.duplicates_parts import (
    EXACT,
    Found,
    GroupRows,
    SideBySide,
    facts_of,
    head_of,
)
from tui.screens.duplicates_words import STEPS, Looking, head_line, state_lines, zoom_line
from tui.theme import Cells
from tui.undoing import tell_refused
from tui.widgets.image_view import ImageView
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line
from tui.widgets.lines import LiveLines

if TYPE_CHECKING:
    from pathlib import Path

    from core.dataset.duplicates import Duplicate, FindProgress
    from core.dataset.edits import Stepwise
    from core.dataset.groups import EditGroup
    from tui.collection import Collection

USUAL = 8


class DuplicatesScreen(ModeScreen):
    """Lies over Dataset. Nothing is removed before `D`, and `u` brings it back."""

    MODE = "dataset"
    CSS_PATH = "duplicates.tcss"
    HELP = """
    ## Duplicates

    Groups of images that are the same, or nearly so. `✓` stays (the largest is proposed), `✱` goes to the trash with
    its caption when you press `D`: those of this group, or of all groups after `A`. `u` brings them back.

    `h` `l` choose a picture, `space` lets it stay or go, `enter` shows it large: `h` and `l` flip through the group.

    `+` and `-` change how far apart two pictures may be, in bits of 64: 0 alike, 8 usual, 20 loosely; below 0 only
    files of the same bytes count. `=` has mirror images count, too. `Esc` stops a search.
    """
    BINDINGS = [
        Binding("space", "stay_or_go", "keep or not", id="list.mark", tooltip="Let this image stay, or go"),
        Binding("D", "trash", "to the trash", id="list.trash", tooltip="Move what is marked to the trash"),
        Binding("A", "all", "all groups", id="list.mark-all", tooltip="Mark all groups, or only this one"),
        Binding("plus", "distance(1)", "looser", show=False, id="duplicates.higher", key_display="+"),
        Binding("minus", "distance(-1)", "stricter", show=False, id="duplicates.lower", key_display="-"),
        Binding("equals_sign", "options", "what counts", id="dataset.duplicates", key_display="="),
        Binding("left,h", "picture(-1)", "left", show=False, id="list.left"),
        Binding("right,l", "picture(1)", "right", show=False, id="list.right"),
        Binding("y", "copy", "copy path", show=False, id="list.copy", tooltip="Copy the path to the clipboard"),
    ]

    where = getters.query_one("#where", Line)
    groups = getters.query_one("#groups", ItemList)
    pictures = getters.query_one(SideBySide)
    zoom = getters.query_one("#zoom", ImageView)

    def __init__(self, collection: Collection, numbers: Sequence[int]) -> None:
        super().__init__()
        self._collection, self._numbers = collection, numbers
        self.distance, self.mirrored = USUAL, False
        self._rows = GroupRows(Found())
        self._unread: tuple[tuple[Path, str], ...] = ()
        self._search_worker: Worker[None] | None = None
        self._progress: FindProgress | None = None
        self._first: tuple[float, int] | None = None
        """When the first picture was read, and how many were known by then."""
        self._was_stopped = False
        self._is_stale = False
        """Dataset still lists what went."""
        self._picture = 1

    @property
    def found(self) -> Found:
        """What was found last, and what is left of it."""
        return self._rows.found

    @property
    def is_searching(self) -> bool:
        return self._search_worker is not None

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        with Horizontal(id="found"):
            yield ItemList(self._rows, id="groups")
            with Vertical(id="beside"):
                yield LiveLines(id="state")
                yield SideBySide()
                yield ImageView(id="zoom", classes="-off")

    def on_mount(self) -> None:
        self.app.dataset_changed.subscribe(self, lambda _: self._files_changed(), immediate=True)
        self.groups.focus()
        self.call_after_refresh(self._search)

    def on_screen_suspend(self) -> None:
        super().on_screen_suspend()
        self._freshen()

    def on_unmount(self) -> None:
        self._freshen()

    def _freshen(self) -> None:
        """Dataset reads its files anew, once for all that went."""
        if self._is_stale:
            from tui import opening

            self._is_stale = False
            opening.reload(self.app)
            opening.tell(self.app)

    # The search

    def _search(self) -> None:
        self._was_stopped, self._progress, self._first = False, None, None
        self._search_worker = self._find(self.distance, self.mirrored)
        self._tell()

    @work(thread=True, exclusive=True, group="duplicates", exit_on_error=False)
    def _find(self, distance: int, mirrored: bool) -> None:
        from core.dataset.duplicates_process import following

        worker = get_current_worker()
        index = self._collection.index
        steps = following((index.path(number) for number in self._numbers), distance, mirrored=mirrored)
        try:
            for step in steps:
                if worker.is_cancelled:
                    return
                found = Found(step.groups) if step.groups is not None else None
                self.app.call_from_thread(self._take, worker, step, found)
        finally:
            steps.close()  # what was read of the pictures is kept for the next search

    def _take(self, worker: Worker[None], step: FindProgress, found: Found | None) -> None:
        if worker is not self._search_worker or not self.is_attached:
            return
        self._progress = step
        if step.done:
            self._first = self._first or (time.monotonic(), step.done)
        if found is not None:
            self._search_worker, self._unread = None, step.unread
            self._rows = GroupRows(found)
            self._picture = 1
            self.groups.set_rows(self._rows, 0)
            self.show_problem_count()
        self._tell()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.worker is self._search_worker and event.state is WorkerState.ERROR:
            self._search_worker = None
            if event.worker.error is not None:
                self.app.report(event.worker.error)
            self._tell()

    def step_back(self) -> bool:
        if self._search_worker is not None:
            self._search_worker.cancel()
            self._search_worker, self._was_stopped = None, True
            self._tell()
            return True
        if not self.zoom.has_class("-off"):
            self._zoom(False)
            return True
        return False

    def action_distance(self, by: int) -> None:
        at = max(index for index, step in enumerate(STEPS) if step <= self.distance)
        to = STEPS[min(max(at + by, 0), len(STEPS) - 1)]
        if to != self.distance:
            self.distance = to
            self._search()

    @work(exit_on_error=False)
    async def action_options(self) -> None:
        from tui.screens.dialogs import Choose

        options = [
            (str(EXACT), "Same bytes", "copies of one file; no picture is read"),
            ("0", "Alike", "one picture in other sizes and formats"),
            (str(USUAL), "Near", f"small changes: up to {USUAL} bits of 64 differ"),
            ("14", "Loosely", "up to 14 bits: some will only resemble each other"),
            ("mirrored", f"Mirror images: {'no longer' if self.mirrored else 'too'}", "turned left to right"),
        ]
        now = str(self.distance)
        chosen = await self.app.push_screen_wait(Choose("What counts as a duplicate", options, chosen=now))
        if chosen == "mirrored":
            self.mirrored = not self.mirrored
        elif chosen is not None:
            self.distance = int(chosen)
        if chosen is not None:
            self._search()

    # What is shown

    def problems(self) -> tuple[Problem, ...]:
        key = self._collection.workspace.key_of
        return tuple(
            Problem(Severity.WARNING, "KT142", key(path), f"was not compared: {reason}", "Replace it, or trash it.")
            for path, reason in self._unread
        )

    def _tell(self) -> None:
        """The line above, and what stands in the place of pictures while there are none."""
        found, looking = self.found, self._looking()
        self.where.set(*head_line(self._collection.name, found, looking, is_narrow=self.has_class("-narrow")))
        self.query_one("#state").set_class(len(found) > 0, "-off")
        self.pictures.set_class(len(found) == 0 or not self.zoom.has_class("-off"), "-off")
        self.query_one("#state", LiveLines).show(state_lines(looking))
        self.refresh_bindings()

    def _looking(self) -> Looking:
        done, total = (self._progress.done, self._progress.total) if self._progress is not None else (0, 0)
        rate = None
        if self._first is not None and (seconds := time.monotonic() - self._first[0]) > 1:
            rate = (done - self._first[1]) / seconds
        return Looking(
            self.distance,
            self.mirrored,
            len(self._numbers),
            self.is_searching,
            self._was_stopped,
            done,
            total,
            rate,
            self._rows.is_all,
        )

    @on(ItemList.Moved, "#groups")
    def _moved(self) -> None:
        self._picture = 1
        self._show()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        images = self.found.images(self.groups.cursor)
        self._picture = min(self._picture, max(0, len(images) - 1))
        self.pictures.show(images, self._picture, self._describe)
        if not self.zoom.has_class("-off"):
            self.zoom.show(self.image.path if self.image is not None else None)
            self._tell_zoom()
        else:
            self._tell()

    def _describe(self, image: Duplicate, width: int) -> tuple[Cells, list[Cells]]:
        images = self.found.images(self.groups.cursor)
        head = head_of(self.found.goes(images, image), image is images[0])
        return head, facts_of(image, images[0], self._tags_of(image), width)

    @property
    def image(self) -> Duplicate | None:
        """The picture under the cursor."""
        images = self.found.images(self.groups.cursor)
        return images[self._picture] if self._picture < len(images) else None

    def _tags_of(self, image: Duplicate) -> str:
        row = self._collection.row_of(image.path)
        if row is None or not row.is_read:
            return ""
        return "no caption" if row.caption is None else count_of(row.tag_count, "tag")

    def action_picture(self, by: int) -> None:
        count = len(self.found.images(self.groups.cursor))
        self._picture = min(max(self._picture + by, 0), max(0, count - 1))
        self._show()

    @on(ItemList.Opened, "#groups")
    def _opened(self) -> None:
        self._zoom(self.zoom.has_class("-off"))

    def _zoom(self, on: bool) -> None:
        self.zoom.set_class(not on, "-off")
        self._tell()
        self._show()

    def _tell_zoom(self) -> None:
        image = self.image
        if image is None:
            return
        images = self.found.images(self.groups.cursor)
        self.where.set(*zoom_line(images, self._picture, self.found.goes(images, image)))

    def action_copy(self) -> None:
        if (image := self.image) is not None:
            self.app.copy_to_clipboard(str(image.path))
            self.notify(f"copied: {printable(str(image.path))}", markup=False, timeout=3)

    # What goes

    def action_stay_or_go(self) -> None:
        if (image := self.image) is not None:
            self.found.toggle(self.groups.cursor, image)
            self._show()

    def action_all(self) -> None:
        self._rows.is_all = not self._rows.is_all and len(self.found) > 0
        self.groups.refresh()
        self._tell()

    @work(exit_on_error=False)
    async def action_trash(self) -> None:
        from tui.screens.dialogs import Confirm

        found, here = self.found, self.groups.cursor
        places = range(len(found)) if self._rows.is_all else [here] if here >= 0 else []
        going = [image for place in places for image in found.going_of(place)]
        whole = sum(len(found.going_of(place)) == len(found.images(place)) for place in places)
        if not going:
            return
        if whole or self._rows.is_all:
            title = f"Move {count_of(len(going), 'image')} of {count_of(len(places), 'group')} to the trash?"
            text = "With their captions; u brings them back."
            if whole == 1 and len(places) == 1:
                text = f"No image of this group is left then. {text}"
            elif whole:
                text = f"Of {count_of(whole, 'group')} no image is left then. {text}"
            if await self.app.push_screen_wait(Confirm(title, text, "Move to the trash")) != "yes":
                return
        if found is self.found:
            self._trash(places)

    def _trash(self, places: Sequence[int]) -> None:
        from core.dataset.relocate import plan_trash, relocating
        from core.runs.in_use import refuse_in_use
        from tui.bulk import carry_out

        workspace = self._collection.workspace
        number = self.found.shown[self.groups.cursor]
        paths = [image.path for image in self.found.clear(places)]

        def steps() -> Stepwise[EditGroup]:
            refuse_in_use(workspace, paths)
            return relocating(workspace, plan_trash(workspace, paths))

        def done(group: EditGroup) -> None:
            self.app.undoing.wrote(group)
            tell_refused(self.app, group.conflicts)
            if group.conflicts:
                self._look()
            if group.id:
                self.app.notify(f"{count_of(len(paths), 'image')} moved to the trash; u brings them back", timeout=3)
            self._is_stale = True
            if not self.is_current:
                self._freshen()

        def failed(error: Exception) -> None:
            self.app.report(error)
            self._look()

        self._rows.is_all = False
        self._show_left(number)
        title = f"{count_of(len(paths), 'image')} to the trash"
        carry_out(self.app, title, steps, done, failed, self._look)

    def _show_left(self, number: int) -> None:
        self._picture = 1
        self.groups.rows_changed(self.found.place_of(number))
        self._show()

    def _files_changed(self) -> None:
        if self.app.workspace is None or self.app.workspace != self._collection.workspace:
            self._is_stale = False
            self.app.call_later(self.dismiss)
        elif not self.is_searching:
            self._look()

    @work(thread=True, exclusive=True, group="look", exit_on_error=False)
    def _look(self) -> None:
        """What is there after an undo, or after somebody else's work."""
        found = self.found
        self.app.call_from_thread(self._looked, found, found.look())

    def _looked(self, found: Found, gone: set[Path]) -> None:
        if found is self.found and self.is_attached and gone != found.gone:
            cursor = self.groups.cursor
            number = found.shown[cursor] if 0 <= cursor < len(found) else 0
            found.take(gone)
            self._show_left(number)
