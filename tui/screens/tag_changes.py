"""The preview beside the form: the tags of all captions now and after a run, and the images that a tag touches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import getters
from textual.binding import Binding
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from core.text import count_of, printable
from tui.screens.tag_values import in_force
from tui.theme import Cells, fit
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines, cut, spread

if TYPE_CHECKING:
    from pathlib import Path

    from core.tagging.options import CaptionOptions
    from core.tagging.preview import ImageChange, TagChange
    from core.tagging.results import CaptionChange as DryChange
    from tui.screens.tag_preview import Answer

BAR = 24
INVITATION = (
    "No stored scores of these images yet.",
    "",
    "d  lets the model look at them and writes nothing;",
    "   from then on a threshold shows here at once",
    "   what it would add and take away.",
    "R  does the same and writes the captions.",
)
MISSING = ("The model is not on this machine yet.", "", "d and R fetch it first; ⏎ on Model and i do it now.")
GOING_ON = ("The run goes on; afterwards thresholds are tried here.",)


class TagRows:
    """Tags with their counts. `own`: tag → the threshold it has for itself."""

    def __init__(self, tags: Sequence[TagChange], own: dict[str, float]) -> None:
        self.tags, self._own = tags, own
        self._most = max((abs(each.change) for each in tags), default=0)

    def __len__(self) -> int:
        return len(self.tags)

    def cells(self, index: int, width: int) -> Cells:
        change = self.tags[index]
        room, bar = columns(width)
        by = change.change
        role = "good" if by > 0 else "bad" if by < 0 else "muted"
        name = whole_words(printable(change.tag), room)
        own = self._own.get(change.tag)
        found: Cells = [
            (f" {name}", "text" if by else "muted"),
            (f"{'' if own is None else f'{own:.2f}' if own <= 1 else 'off':>6}", "accent"),
            (f"{change.now:>7,}{change.then:>7,}", "muted"),
            (f"{by:>+8,}" if by else f"{'=':>8}", role),
        ]
        if bar and by and self._most:
            found.append(("  " + solid(abs(by) / self._most, bar), role))
        return found


class ImageRows:
    """Images, each with the tags that it gains and loses."""

    def __init__(self, images: Sequence[tuple[Path | str, Sequence[str], Sequence[str]]]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def cells(self, index: int, width: int) -> Cells:
        path, added, removed = self.images[index]
        name = str(path).rpartition("/")[2]
        room = min(28, max(14, width // 3))
        found: Cells = [(f" {fit(printable(name), room, middle=True)} ", "text")]
        left = width - room - 3
        pieces = [(f" +{printable(tag)}", "good") for tag in added] + [
            (f" −{printable(tag)}", "bad") for tag in removed
        ]
        for number, (text, role) in enumerate(pieces):
            more = f" … {len(pieces) - number} more" if number < len(pieces) - 1 else ""
            if cell_len(text) + (len(more) if number < len(pieces) - 1 else 0) > left and number:
                found.append((f" … {len(pieces) - number} more"[: max(0, left)], "muted"))
                break
            found.append((text if cell_len(text) <= left else cut([(text, role)], left)[0][0], role))
            left -= cell_len(text)
        return found


def since(began: Answer, answer: Answer) -> Cells:
    """`general 0.35 → 0.25: +312 tags`: what the changed options make of the captions that a run would write."""
    before, after = began.request.caption, answer.request.caption
    changed = [
        item.name for item in dataclasses.fields(before) if getattr(before, item.name) != getattr(after, item.name)
    ]
    what = "with these options"
    if (len(changed) == 1 and changed[0].endswith("threshold")) or changed == ["thresh"]:
        key = changed[0].removesuffix("_threshold")
        what = f"{'others' if key == 'thresh' else key} {_value(before, key)} → {_value(after, key)}"
    by = answer.total - began.total
    return [
        (f" {what}: ", "muted"),
        (f"{by:+,}".replace("-", "−"), "good" if by > 0 else "bad" if by < 0 else "muted"),
        (" tags", "muted"),
    ]


def _value(caption: CaptionOptions, key: str) -> str:
    value = in_force(caption, key)
    return "off" if value > 1 else f"{value:.2f}"


def first(tags: Sequence[str], tag: str | None) -> Sequence[str]:
    """The tag that is asked about before the others."""
    return (tag, *(each for each in tags if each != tag)) if tag is not None and tag in tags else tags


def columns(width: int) -> tuple[int, int]:
    """Cells for the name of a tag, and for the bar at the right (0: there is no room)."""
    bar = BAR if width >= 72 else 0
    return max(8, width - 30 - (bar + 2 if bar else 0)), bar


def whole_words(text: str, room: int) -> str:
    """`text` in `room` cells, shortened at a blank where it is too long."""
    if cell_len(text) > room:
        text = cut([(text, "")], room)[0][0]
    return fit(text, room)


def solid(share: float, width: int) -> str:
    """A thin bar of up to `width` cells, to half a cell."""
    halves = max(1, round(share * width * 2))
    return "━" * (halves // 2) + "╸" * (halves % 2)


class ChangeList(ItemList):
    """Tags or images. `+` and `-` are for tags, Enter leads on."""

    BINDINGS: ClassVar = [
        Binding("enter", "open", "open", id="list.open", key_display="⏎"),
        Binding("plus", "tune(1)", "own threshold", id="tag.higher", key_display="+ -"),
        Binding("minus", "tune(-1)", "lower", show=False, id="tag.lower", key_display="-"),
        Binding("w", "by_image", "by image", id="tag.list-or-grid"),
    ]

    class Tuned(Message):
        """`+` or `-` on a row."""

        def __init__(self, index: int, by: int) -> None:
            super().__init__()
            self.index, self.by = index, by

    class Turned(Message):
        """`w`: by tag or by image."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "tune":
            return isinstance(self.rows, TagRows)
        return super().check_action(action, parameters)

    def action_tune(self, by: int) -> None:
        if self.cursor >= 0:
            self.post_message(self.Tuned(self.cursor, by))

    def action_by_image(self) -> None:
        self.post_message(self.Turned())


class Changes(Vertical):
    """The panel: what it is about and the sums above, the list below. `tag` is set while the images of one are seen."""

    class Resized(Message):
        """The panel, and with it the form, has another size: the screen's breakpoints come a layout later."""

    DEFAULT_CSS = "Changes > Lines { height: auto; width: 1fr; }"
    rows = getters.query_one(ChangeList)
    head = getters.query_one("#change-head", Lines)

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.answer: Answer | None = None
        self.view = "tags"
        """`tags`, or `images`: all that change, or those of `tag`."""
        self.tag: str | None = None
        self.began: Answer | None = None
        """The first answer since the last run: what other thresholds make of it is told beside the sums."""
        self.why: Sequence[str] = ()
        """What stands there without an answer."""
        self._shown: Answer | None = None
        self._dry: tuple[str, Sequence[DryChange]] | None = None

    def compose(self) -> Iterable[Widget]:
        yield Lines(id="change-head")
        yield ChangeList(id="change-list")

    def on_resize(self) -> None:
        self.post_message(self.Resized())

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to go to."""
        return self.answer is None and self._dry is None

    @property
    def is_focused(self) -> bool:
        return self.rows.has_focus

    @property
    def tag_at_cursor(self) -> str | None:
        rows = self.rows.rows
        return (
            rows.tags[self.rows.cursor].tag if isinstance(rows, TagRows) and 0 <= self.rows.cursor < len(rows) else None
        )

    @property
    def image_at_cursor(self) -> Path | str | None:
        rows = self.rows.rows
        at = self.rows.cursor
        return rows.images[at][0] if isinstance(rows, ImageRows) and 0 <= at < len(rows) else None

    def tell(self, answer: Answer | None, dry: tuple[str, Sequence[DryChange]] | None = None) -> None:
        """Show the answer; without one what a dry run of that name found, or else how to get scores."""
        self.answer, self._dry = answer, dry
        if answer is None or self.began is None or self.began.request.target != answer.request.target:
            self.began = answer
        if answer is None:
            self.view, self.tag = "tags", None
            changes = dry[1] if dry is not None else ()
            if changes:
                self.rows.set_rows(ImageRows([(each.path, each.added, each.removed) for each in changes]))
            else:
                self.rows.set_rows(Texts())
        elif self.view == "tags":
            self._show_tags(answer)
        self.show_head()
        self.call_after_refresh(self.show_head)  # the columns stand beside the scroll bar once there is one

    def _show_tags(self, answer: Answer) -> None:
        at, before = self.rows.cursor, self.tag_at_cursor
        tags = self._in_place(answer)
        if before is not None and (self.is_focused or at > 0):
            at = next((index for index, each in enumerate(tags) if each.tag == before), at)
        else:
            at = 0
        self.rows.set_rows(TagRows(tags, answer.own), at if tags else None)

    def _in_place(self, answer: Answer) -> Sequence[TagChange]:
        """The tags in their order, or where they stood before when only a tag's own threshold is another."""
        shown, self._shown = self._shown, answer
        rows = self.rows.rows
        if shown is None or not isinstance(rows, TagRows) or shown.own == answer.own:
            return answer.tags
        if dataclasses.replace(shown.request.caption, tag_thresholds="") != dataclasses.replace(
            answer.request.caption, tag_thresholds=""
        ):
            return answer.tags
        places = {each.tag: place for place, each in enumerate(rows.tags)}
        return sorted(answer.tags, key=lambda each: places.get(each.tag, len(places)))

    def show_images(self, images: Sequence[ImageChange], tag: str | None) -> None:
        """The images of a tag, or all that change."""
        at = self.image_at_cursor
        self.view, self.tag = "images", tag
        rows = ImageRows([(each.image, first(each.added, tag), first(each.removed, tag)) for each in images])
        self.rows.set_rows(rows, next((index for index, each in enumerate(images) if each.image == at), 0))
        self.rows.refresh_bindings()
        self.show_head()

    def show_tags(self, back_to: str | None = None) -> None:
        """Back from the images."""
        self.view, self.tag = "tags", None
        self.rows.refresh_bindings()
        if self.answer is not None:
            self._show_tags(self.answer)
            tags = self.rows.rows.tags if isinstance(self.rows.rows, TagRows) else ()
            self.rows.move(next((index for index, each in enumerate(tags) if each.tag == back_to), 0))
        self.show_head()

    def show_head(self) -> None:
        """The lines above the list; called again when the focus or the size changes."""
        width = self.size.width
        if width <= 4:
            return
        lines = [cut(line, width) if len(line) == 1 else line for line in self._head(width)]
        self.head.styles.height = len(lines)
        self.head.show(lines)

    def _head(self, width: int) -> list[Cells]:
        title = "accent bold" if self.is_focused else "text bold"
        answer = self.answer
        if answer is None and self._dry is not None:
            count = count_of(len(self._dry[1]), "caption")
            return [[(" Dry run", title)], [(f" {count} would get other tags; nothing was written", "text")], []]
        if answer is None:
            return [[(" Preview", title)], *([(f" {line}", "muted")] for line in self.why)]
        found = answer.preview
        images: Cells = [(f"{count_of(found.images, 'image')} ", "muted")]
        lines: list[Cells] = [spread([(" Preview from stored scores", title)], images, width)]
        if found.captions:
            parts: Cells = [(" ", "text")]
            parts += [(f"+{found.added:,} ", "good")] if found.added else []
            parts += [(f"−{found.removed:,} ", "bad")] if found.removed else []
            parts.append((f"tags in {count_of(found.captions, 'caption')}", "text"))
            lines.append(parts)
        else:
            lines.append([(" the captions have these very tags", "muted")])
        if self.began is not None and self.began.request.caption != answer.request.caption:
            lines.append(since(self.began, answer))
        if found.unscored:
            lines.append([(f" {count_of(found.unscored, 'image')} more without stored scores", "caution")])
        if not found.is_covered:
            lines.append([(" under what was stored: a run asks the model, and may find more", "caution")])
        lines.append([])
        if self.view == "images":
            what = f"images that change in {printable(self.tag)}" if self.tag is not None else "images that change"
            lines.append([(f" {what}", "muted")])
        else:
            room, _ = columns(self.rows.scrollable_content_region.width or width)
            name = f" {'tag':<{room}}{'own':>6}{'now':>7}{'then':>7}{'change':>8}"
            lines.append([(name, "muted")])
        return lines
