"""What the duplicates screen says: the line above the groups, and what stands where no pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.text import count_of, human_bytes, human_seconds, printable
from tui.screens.duplicates_parts import EXACT, Found, head_of, nearness, relation
from tui.theme import Cells
from tui.widgets.gauges import bar

if TYPE_CHECKING:
    from core.dataset.duplicates import Duplicate

STEPS = (EXACT, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20)
"""The distances that + and - go through."""


@dataclass(frozen=True, slots=True)
class Looking:
    """What is looked for among `images`, and how far the search is (`total` 0: it just began); `rate` is that of the
    pictures that are read now, a second, None as long as it is not known.
    """

    distance: int
    mirrored: bool
    images: int
    is_searching: bool
    was_stopped: bool
    done: int
    total: int
    rate: float | None
    is_all: bool
    """All groups are marked."""


def head_line(name: str, found: Found, looking: Looking, *, is_narrow: bool) -> tuple[Cells, Cells]:
    """The line above: how far the search is, or what it found."""
    left: Cells = [(" Duplicates", "accent bold"), (f" · {printable(name)}", "muted")]
    if looking.is_searching:
        total = looking.total or looking.images
        right: Cells = [*bar([(looking.done / total if total else 1.0, "accent")], 16)]
        right += [(f" {looking.done:,}/{total:,}", "text"), ("  Esc stops ", "muted")]
        return left, right
    if looking.was_stopped:
        left.append((" · stopped", "caution"))
    if len(found):
        left.append((f" · {count_of(len(found), 'group')}", "text"))
        left.append((f" · {found.going:,} to go, {human_bytes(found.bytes)}", "muted"))
    if looking.is_all:
        left.append((" · all groups marked", "accent"))
    right = [(nearness(looking.distance), "text"), (" or mirrored" if looking.mirrored else "", "text"), (" ", "")]
    return left, right if is_narrow else [("counts: ", "muted"), *right]


def state_lines(looking: Looking) -> list[Cells]:
    """While there are no groups: what is done, and what one can do."""
    if looking.is_searching:
        return [
            [(f"Comparing {count_of(looking.images, 'image')}.", "text")],
            [("Each is read once; the next search finds it in the cache.", "muted")],
            _pace(looking),
        ]
    if looking.was_stopped:
        return [
            [("Stopped.", "text")],
            [("What was read is kept: the next search begins there.", "muted")],
            [("=", "accent"), (" looks again, ", "muted"), ("Esc", "accent"), (" goes back", "muted")],
        ]
    looser = looking.distance < STEPS[-1]
    return [
        [(f"No duplicates among {count_of(looking.images, 'image')}.", "text")],
        [("+", "accent"), (" looks for those that differ more, ", "muted")] if looser else [],
        [("=", "accent"), (" says what counts, mirror images too", "muted")],
    ]


def _pace(looking: Looking) -> Cells:
    left = looking.total - looking.done
    if not looking.rate or not left:
        return [("comparing…", "muted")] if looking.total and not left else []
    return [(f"{looking.rate:,.0f} a second", "muted"), (f"   {human_seconds(left / looking.rate)} left", "text")]


def zoom_line(images: Sequence[Duplicate], at: int, goes: bool) -> tuple[Cells, Cells]:
    """The line above one picture that is shown large."""
    image = images[at]
    likeness = "the largest" if image is images[0] else relation(image)
    size = f"{image.width}×{image.height} · {human_bytes(image.bytes)} · {likeness}"
    left: Cells = [
        (f" {at + 1}/{len(images)} ", "muted"),
        (printable(image.path.name), "accent bold"),
        (f"  {size}", "text"),
    ]
    return left, [*head_of(goes, image is images[0]), (" ", "text")]
