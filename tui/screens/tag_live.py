"""The Tag screen's part that asks for previews, lists the images of a tag and gives tags thresholds of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.worker import get_current_worker

from core.problems import UserError
from tui.screens import tag_values
from tui.screens.tag_changes import GOING_ON, INVITATION, MISSING, ChangeList, Changes
from tui.screens.tag_preview import Answer, Previewer
from tui.screens.tag_run import Reading, is_about
from tui.screens.tag_runs import TagRuns
from tui.widgets.item_list import ItemList

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel
    from core.tagging.options import TagRequest
    from core.tagging.preview import ImageChange
    from core.tagging.results import CaptionChange as DryChange

    Question = tuple[TagRequest, tuple[TaggerModel, ...]]


class TagLive(TagRuns):
    """What thresholds make of stored scores, while they are stepped."""

    side = getters.query_one(Changes)

    def __init__(self) -> None:
        super().__init__()
        self._previewer = Previewer()
        self._wanted: Question | None = None
        self._is_asking = False

    @property
    def answer(self) -> Answer | None:
        """What the preview shows."""
        return self.side.answer

    def _set(self, request: TagRequest) -> None:
        """Other options."""

    def _ask_preview(self) -> None:
        """Answered by a thread, the newest question only."""
        request = self._request
        models = None if request is None or not request.target else self._known.models_of(request)
        if request is None or models is None or self.run.is_live:
            self._wanted = None
            self.side.why = GOING_ON if self.run.is_live else MISSING if request and request.target else ()
            self.side.tell(None, self._dry_changes())
            return
        self._wanted = request, models
        if not self._is_asking:
            self._is_asking = True
            self._answer(self._wanted)

    @work(thread=True, group="tag-preview", exit_on_error=False, description="preview")
    def _answer(self, question: Question) -> None:
        worker = get_current_worker()
        asked: Question | None = question

        def is_old() -> bool:
            newest = self._wanted
            is_other = newest is not None and asked is not None and newest[0].target != asked[0].target
            return worker.is_cancelled or is_other

        try:
            while asked is not None:
                try:
                    found = self._previewer.answer(self.app.workspace, *asked, is_old)
                except UserError:
                    found = None  # R says what is wrong with the target
                asked = self.app.call_from_thread(self._take_answer, asked, found)
        finally:
            if asked is not None:
                self._is_asking = False

    def _take_answer(self, asked: Question, found: Answer | None) -> Question | None:
        """Show the answer; returns the next question."""
        if self._wanted is asked:
            self._wanted = None
        if asked[0] == self._request and not self.run.is_live:
            self.side.why = INVITATION
            self.side.tell(found, self._dry_changes() if found is None else None)
            if found is not None and self.side.view == "images":
                self._list_images(found, self.side.tag)
        self._is_asking = self._wanted is not None
        return self._wanted

    def _dry_changes(self) -> tuple[str, Sequence[DryChange]] | None:
        seen = self.run.seen
        if seen is None or self.run.is_live or not seen[1].dry_run or self._request is None:
            return None
        return (seen[0].run.id, seen[1].changes) if is_about(seen[0].run, self._request) else None

    @work(thread=True, exclusive=True, group="tag-images", exit_on_error=False, description="list the images of a tag")
    def _list_images(self, answer: Answer, tag: str | None) -> None:
        found = self._previewer.images(answer, tag)
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._take_images, answer, found, tag)

    def _take_images(self, answer: Answer, images: tuple[ImageChange, ...], tag: str | None) -> None:
        if answer is self.answer:
            self.side.show_images(images, tag)

    @on(ChangeList.Opened, "#change-list")
    async def _row_opened(self, event: ItemList.Opened) -> None:
        event.stop()
        tag, image = self.side.tag_at_cursor, self.side.image_at_cursor
        if tag is not None and self.answer is not None:
            self._list_images(self.answer, tag)
        elif image is not None:
            await self.app.open_review(Path(image))

    @on(ChangeList.Turned)
    def _turned(self) -> None:
        if self.side.view == "images":
            self.side.show_tags(self.side.tag)
        elif self.answer is not None:
            self._list_images(self.answer, None)

    @on(ChangeList.Tuned)
    def _tuned(self, event: ChangeList.Tuned) -> None:
        tag = self.side.tag_at_cursor
        if tag is None or self._request is None or self.answer is None:
            return
        own = self.answer.own.get(tag)
        pending = tag_values.own_threshold(self._request, tag)
        self._find_threshold(tag, event.by, pending if pending is not None else own)

    @work(thread=True, group="tag-own", exit_on_error=False, description="find a threshold")
    def _find_threshold(self, tag: str, by: int, own: float | None) -> None:
        request = self._request
        found = None if request is None else self._previewer.threshold(request, tag)
        self.app.call_from_thread(self._tune, tag, by, own, found)

    def _tune(self, tag: str, by: int, own: float | None, found: tuple[str, float] | None) -> None:
        if self._request is None:
            return
        if found is None:
            self.notify(f"No threshold decides about {tag}.", timeout=3, markup=False)
            return
        value = tag_values.stepped_threshold(own if own is not None else found[1], by)
        self._set(tag_values.with_own_threshold(self._request, found[0], value))

    # The run

    def _run_read(self) -> None:
        if self.run.is_live and self.side.why != GOING_ON:
            self.side.why = GOING_ON
            self.side.tell(None)

    def _run_ended(self, reading: Reading) -> None:
        self.outlook = replace(self.outlook, is_run_shown=True, has_ended=True)
        self.side.began = None
        self._previewer.scores_changed()
        if reading.results.dry_run:
            self._look_around()
        else:
            self.app.beat.tag_ended(reading.seen.run)
