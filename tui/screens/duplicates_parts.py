"""The groups of a search for duplicates: what is to go, how they look in a list, and their pictures side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import getters
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from core.text import count_of, human_bytes, printable
from tui.theme import Cells, fit
from tui.widgets.image_view import ImageView
from tui.widgets.line import cut
from tui.widgets.lines import LiveLines

if TYPE_CHECKING:
    from core.dataset.duplicates import Duplicate, Group

EXACT = -1
"""The distance that stands for the same bytes."""
MOST_VIEWS = 4


def nearness(distance: int) -> str:
    """`same bytes`, `alike`, `8 bits`: what counts as a duplicate."""
    return "same bytes" if distance == EXACT else count_of(distance, "bit") if distance else "alike"


def relation(image: Duplicate) -> str:
    """How an image is like the one to keep."""
    text = "same bytes" if image.is_same else f"{count_of(image.distance, 'bit')} off" if image.distance else "alike"
    return f"{text}, mirrored" if image.is_mirrored else text


class Found:
    """The groups that are left, by their place in the search; of each image whether it goes.

    Proposed to stay is the first image that a group has left.
    """

    def __init__(self, groups: Sequence[Group] = ()) -> None:
        self._groups = groups
        self.gone: set[Path] = set()
        """Files that are not there any more."""
        self._chosen: dict[Path, bool] = {}
        self._left: dict[int, tuple[Duplicate, ...]] = {}
        self.shown: list[int] = []
        self.going, self.bytes = 0, 0
        """Images that go if all groups are cleared, and what they take on the disk."""
        self.take(())

    def __len__(self) -> int:
        return len(self.shown)

    def images(self, place: int) -> tuple[Duplicate, ...]:
        """What the group at a place of the list has left, the one to keep first; nothing where there is none."""
        return self._left[self.shown[place]] if 0 <= place < len(self.shown) else ()

    def goes(self, images: Sequence[Duplicate], image: Duplicate) -> bool:
        """Whether it goes when its group (`images`) is cleared."""
        return self._chosen.get(image.path, image is not images[0])

    def going_of(self, place: int) -> list[Duplicate]:
        """Those of a group that go."""
        images = self.images(place)
        return [image for image in images if self.goes(images, image)]

    def toggle(self, place: int, image: Duplicate) -> None:
        """The other way for one image."""
        goes = not self.goes(self.images(place), image)
        self._chosen[image.path] = goes
        self.going += 1 if goes else -1
        self.bytes += image.bytes if goes else -image.bytes

    def take(self, gone: Iterable[Path]) -> None:
        """These files, and no others, are gone. Groups of which one image is left are no longer shown."""
        self.gone = set(gone)
        self._left = {}
        self.shown = []
        self.going = self.bytes = 0
        for number, group in enumerate(self._groups):
            left = group.images
            if self.gone:
                left = tuple(image for image in left if image.path not in self.gone)
            if len(left) < 2:
                continue
            self._left[number] = left
            self.shown.append(number)
            self._count(left)

    def clear(self, places: Sequence[int]) -> list[Duplicate]:
        """Those of some groups that go are gone now; which they are."""
        going = [image for place in places for image in self.going_of(place)]
        gone = {image.path for image in going}
        if len(places) > 1:
            self.take(self.gone | gone)
            return going
        for place in places:  # ten thousand others are not counted again
            number, before = self.shown[place], self.images(place)
            self.gone |= gone
            self.going -= len(going)
            self.bytes -= sum(image.bytes for image in going)
            left = self._left[number] = tuple(image for image in before if image.path not in gone)
            if len(left) < 2:
                del self._left[number], self.shown[place]
        return going

    def _count(self, images: Sequence[Duplicate]) -> None:
        for image in images:
            if self.goes(images, image):
                self.going += 1
                self.bytes += image.bytes

    def look(self) -> set[Path]:
        """The files of all groups that are not there now; a thread asks the disk."""
        return {image.path for group in self._groups for image in group.images if not os.path.lexists(image.path)}

    def place_of(self, number: int) -> int:
        """Where a group of the search stands in the list, or the next one."""
        from bisect import bisect_left

        return bisect_left(self.shown, number)


class GroupRows:
    """One line a group: the name of the one to keep, how many there are, how near they are."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.is_all = False
        """All groups are marked."""

    def __len__(self) -> int:
        return len(self.found)

    def cells(self, index: int, width: int) -> Cells:
        images = self.found.images(index)
        others = images[1:]
        farthest = max(others, key=lambda image: (image.distance, not image.is_same))
        near = "same" if farthest.is_same else f"{farthest.distance} bits" if farthest.distance else "alike"
        mark = "✱ " if self.is_all else "  "
        return [
            (mark, "accent"),
            (fit(printable(images[0].path.name), width - 14, middle=True), "text"),
            (f"{len(images):>3}", "text"),
            (f"{fit(near, 8, right=True)} ", "muted"),
        ]


class PictureSlot(Vertical):
    """One picture of a group with its facts."""

    picture = getters.query_one(ImageView)
    head = getters.query_one(".head", LiveLines)
    facts = getters.query_one(".facts", LiveLines)

    def compose(self) -> Iterable[Widget]:
        yield LiveLines(classes="head")
        yield ImageView()
        yield LiveLines(classes="facts")

    def show(self, image: Duplicate | None, head: Cells, facts: list[Cells], width: int, has_cursor: bool) -> None:
        """Another picture, or None for an empty place."""
        self.picture.show(image.path if image is not None else None)
        rule: Cells = [("▔" * width, "accent" if has_cursor else "rule")]
        self.head.show([cut(head, width), rule] if image is not None else [])
        self.facts.show([cut(line, width) for line in facts])


class SideBySide(Horizontal):
    """The one to keep at the left, beside it the others, as many as there is room for; the cursor is in sight.

    The pictures are made once and change what they show.
    """

    def __init__(self) -> None:
        super().__init__(id="pictures")
        self.cursor = 0
        self._images: Sequence[Duplicate] = ()
        self._describe: Callable[[Duplicate, int], tuple[Cells, list[Cells]]] = lambda image, width: ([], [])

    def compose(self) -> Iterable[Widget]:
        for _ in range(MOST_VIEWS):
            yield PictureSlot()

    @property
    def views(self) -> int:
        """Pictures side by side."""
        return min(MOST_VIEWS, max(2, self.size.width // 24))

    def show(
        self,
        images: Sequence[Duplicate],
        cursor: int,
        describe: Callable[[Duplicate, int], tuple[Cells, list[Cells]]],
    ) -> None:
        """The images of a group; `describe(image, width)` tells what stands above and below those in sight."""
        self._images, self.cursor, self._describe = images, cursor, describe
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        views = min(self.views, max(2, len(self._images)))
        first = max(1, min(self.cursor - views + 2, len(self._images) - views + 1))
        places = [0, *range(first, first + views - 1), *[-1] * MOST_VIEWS]
        width = max(12, self.size.width // views - 2)
        for slot, place in zip(self.query(PictureSlot), places, strict=False):
            slot.display = place >= 0
            if 0 <= place < len(self._images):
                head, facts = self._describe(self._images[place], width)
                slot.show(self._images[place], head, facts, width, place == self.cursor)
            else:
                slot.show(None, [], [], width, False)


def head_of(goes: bool, is_first: bool) -> Cells:
    """What becomes of an image."""
    if goes:
        return [("✱ ", "bad"), ("to the trash", "bad")]
    return [("✓ ", "good"), ("keep", "good bold" if is_first else "good")]


def facts_of(image: Duplicate, first: Duplicate, tags: str, width: int) -> list[Cells]:
    """Name, size, likeness, place and caption of one image; what is less than of the first is told quietly."""
    size = f"{image.width}×{image.height}" if image.width else "unreadable"
    is_smaller = image.width * image.height < first.width * first.height
    return [
        [(fit(printable(image.path.name), width, middle=True).rstrip(), "text bold")],
        [(size, "caution" if is_smaller else "text"), (f" · {human_bytes(image.bytes)}", "muted")],
        [("the largest" if image is first else relation(image), "second" if image is not first else "muted")],
        [(printable(image.path.parent.name), "muted"), (f" · {tags}" if tags else "", "muted")],
    ]
