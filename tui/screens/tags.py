"""The tags panel: every tag of the dataset, what stands beside it, and the traits that a trigger word should absorb."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import getters, on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input

from core.dataset.captions import clean_tag, split, tag_key
from core.text import count_of, printable
from tui.screens.base import FIND, ModeScreen
from tui.screens.tag_removal import change_everywhere
from tui.tag_counts import Counted, count
from tui.theme import Cells
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line, Lines, cut
from tui.widgets.tag_about import AboutTag
from tui.widgets.tag_input import TagInput
from tui.widgets.tag_lists import TagList, TraitList
from tui.widgets.tag_rows import verdict

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup

ORDERS = {"count": "most used first", "rare": "least used first", "name": "by name", "category": "by category"}
SLIM = 64
"""Below this width the list has the whole of it."""


class TagsScreen(ModeScreen):
    """Stands over Dataset or Review and counts all images of the dataset, whatever they filter."""

    MODE = "dataset"
    CSS_PATH = "tags.tcss"
    HELP = """
    ## Tags

    Every tag of the dataset with its count, its share of the captions and its category. `enter` shows the images that
    have it, `r` renames it and `x` removes it everywhere: first you see how many captions change. `space` marks several
    for `enter` and `x`. `/` finds, `o` sorts, `u` undoes.

    `tab` shows what comes with the trigger word. What captions always name beside it, the trigger does not learn:
    **absorb** such a trait (`x`), or keep it (`m`) and name it in every prompt. `E` takes another trigger word.
    """
    BINDINGS = [
        Binding("x", "remove", "remove", id="edit.remove", tooltip="Remove the tag from all captions"),
        Binding("r", "rename", "rename", id="tags.rename", tooltip="Rename the tag in all captions"),
        Binding(
            "m", "keep", "keep", id="list.reviewed", tooltip="Keep the tag beside the trigger word, or decide anew"
        ),
        Binding("o", "order", "order", show=False, id="list.order", tooltip="Sort order"),
        Binding("y", "copy", "copy", show=False, id="list.copy", tooltip="Copy the tag to the clipboard"),
        Binding("E", "trigger", "trigger word", id="tags.text", tooltip="Judge what comes with another trigger word"),
        Binding("tab", "next_panel", "traits", id="app.next-panel", tooltip="All tags, or those beside the trigger"),
        Binding("number_sign", "close", "close", show=False, id="tags.tags-panel", key_display="#", tooltip="Back"),
        *FIND,
    ]

    where = getters.query_one("#where", Line)
    tags = getters.query_one(TagList)
    traits = getters.query_one(TraitList)
    about = getters.query_one(AboutTag)

    def __init__(self, mode: str = "dataset") -> None:
        super().__init__()
        self._mode = mode
        self.counted: Counted | None = None
        self.marked: set[str] = set()
        """Keys of the tags that are marked, in both lists."""
        self._trigger = self.app.settings.trigger
        self._guess = True
        self._busy = ""
        self._renaming: str | None = None

    def compose(self) -> Iterable[Widget]:
        yield Header(self._mode)
        yield from self.compose_body()
        yield Footer()

    def compose_body(self) -> Iterable[Widget]:
        yield Line(id="where")
        with Horizontal(id="panels"):
            with Vertical(id="lists"):
                yield Lines(id="verdict", classes="-off")
                yield TagList()
                yield TraitList()
            yield AboutTag(id="about")

    def on_mount(self) -> None:
        self.app.collection_signal.subscribe(self, self._collection_changed)
        self.app.dataset_changed.subscribe(self, lambda _: self._count())
        self.tags.focus()
        self._count()
        if not self.app.vocabulary.is_ready:
            self.app.vocabulary.load(self._count)  # it knows the categories

    def on_resize(self) -> None:
        self.query_one("#about").set_class(self.size.width < SLIM, "-off")
        self.call_after_refresh(self._draw)

    def on_screen_resume(self) -> None:
        if self.counted is not None and self.app.collection is not None:
            self._count()

    # Counting

    def _collection_changed(self, what: str) -> None:
        if what in {"opened", "complete", "rows"}:
            self._count()

    @work(thread=True, exclusive=True, group="tags", exit_on_error=False)
    def _count(self) -> None:
        from textual.worker import get_current_worker

        collection, worker = self.app.collection, get_current_worker()
        if collection is None:
            return
        categories = self.app.vocabulary.categories
        counted = count(collection, self._trigger, categories, guess=self._guess)
        if not worker.is_cancelled:
            self.app.call_from_thread(self._took, counted)

    def _took(self, counted: Counted) -> None:
        if not self.is_attached:
            return
        self.counted = counted
        self.marked = self.marked & set(counted.keys)
        self.tags.take(counted, self.marked)
        self.traits.take(counted, self.marked)
        self._draw()
        self._follow()

    # What is shown

    @property
    def on_traits(self) -> bool:
        """The traits are shown, not all tags."""
        return not self.traits.has_class("-off")

    @property
    def seen(self) -> TagList | TraitList:
        """The one that is shown."""
        return self.traits if self.on_traits else self.tags

    @property
    def tag(self) -> str | None:
        """The tag under the cursor of the list that is shown."""
        found = self.seen.row
        return found.tag if found is not None else None

    @property
    def chosen(self) -> list[str]:
        """The marked tags, or the one under the cursor."""
        counted = self.counted
        if counted is not None and self.marked:
            marked = [row.tag for row, key in zip(counted.rows, counted.keys, strict=True) if key in self.marked]
            if self.on_traits:  # what is marked in the other list is out of sight
                seen = self.traits.tags_at(range(len(self.traits.rows)))
                marked = [tag for tag in marked if tag in seen]
            if marked:
                return marked
        return [self.tag] if self.tag is not None else []

    def _draw(self) -> None:
        """The line above the lists, and the verdict."""
        counted, collection = self.counted, self.app.collection
        name = printable(collection.name) if collection is not None else ""
        left: Cells = [(" tags of ", "text"), (name, "accent bold")]
        right: Cells = []
        if counted is not None:
            left.append(
                (f" · {count_of(len(counted.rows), 'tag')} in {count_of(counted.table.captions, 'caption')}", "text")
            )
        if collection is not None and not collection.is_complete:
            left.append((" · reading…", "muted"))
        if self.marked:
            left.append((f" · {len(self.marked):,} marked", "accent"))
        if self._busy:
            right.append((f"{self._busy} ", "caution"))
        elif not self.on_traits:
            if self.tags.word:
                right += [
                    ("/ ", "accent"),
                    (printable(self.tags.word), "text"),
                    (f"  {len(self.tags.rows):,} of them  ", "muted"),
                ]
            right.append((f"{ORDERS[self.tags.order]} ", "muted"))
        self.where.set(left, right)
        if counted is not None:
            lines = verdict(counted.report)
            panel = self.query_one("#verdict", Lines)
            panel.styles.height = len(lines) + 1
            panel.show([cut(line, panel.size.width or 60) for line in lines])

    def say(self, busy: str) -> None:
        """Show what is under way; "" when nothing is."""
        self._busy = busy
        self._draw()

    @on(ItemList.Moved)
    def _follow(self) -> None:
        if self.counted is not None:
            self.about.follow(self.counted.table, self.seen.row)

    # Keys

    def step_back(self) -> bool:
        if self.query("#find"):
            self.tags.word = ""
            self.call_later(self._close_find)
            return True
        if self.tags.word:
            self._look_for("")
            return True
        if self.on_traits:
            self.action_next_panel()
            return True
        return False

    def action_close(self) -> None:
        self.app.pop_screen()

    def action_next_panel(self) -> None:
        tag, to_traits = self.tag, not self.on_traits
        self.traits.set_class(not to_traits, "-off")
        self.tags.set_class(to_traits, "-off")
        self.query_one("#verdict").set_class(not to_traits, "-off")
        if not to_traits:
            self.tags.put_in_order(tag)
        self.seen.focus()
        self.refresh_bindings()
        self._draw()
        self._follow()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "keep":
            return self.on_traits
        if action == "next_panel":
            return not self.query("Input")
        return not self.on_traits if action in {"order", "find", "next_match", "previous_match"} else True

    @on(ItemList.Marked)
    def _mark(self, event: ItemList.Marked) -> None:
        keys = set(map(tag_key, self.seen.tags_at(event.indices)))
        on = event.on if event.on is not None else not keys <= self.marked
        self.marked = self.marked | keys if on else self.marked - keys
        self.tags.mark(self.marked)
        self.traits.mark(self.marked)
        self._draw()

    @on(ItemList.Opened)
    def _filter(self) -> None:
        """Show the images that have all the chosen tags."""
        from core.dataset.filter_tree import And, Pattern, Tag, write
        from tui import opening

        chosen = self.chosen
        if chosen:
            query = write(And(tuple(Tag(Pattern.of(tag)) for tag in chosen)))
            opening.choose(self.app, query, subset="", then=self._filtered)

    def _filtered(self) -> None:
        collection = self.app.collection
        if collection is None:
            return
        row = collection.row_of(self.app.review_item) if self.app.review_item is not None else None
        if (row is None or collection.place_of(row) < 0) and len(collection.shown):
            self.app.review_item = collection.shown[0].item.path
        self.app.collection_signal.publish("rows")
        if self.is_current:
            self.app.pop_screen()

    def action_copy(self) -> None:
        if self.chosen:
            self.app.copy_to_clipboard(", ".join(self.chosen))
            self.notify("copied", timeout=2)

    @work(exit_on_error=False)
    async def action_order(self) -> None:
        from tui.screens.dialogs import Choose

        options = [(key, text, "") for key, text in ORDERS.items()]
        order = await self.app.push_screen_wait(Choose("Sort order", options, chosen=self.tags.order))
        if order is not None:
            self.tags.order = order
            self.tags.put_in_order(self.tag)
            self._draw()

    @work(exit_on_error=False)
    async def action_remove(self) -> None:
        from core.dataset.operations import Remove

        if (chosen := self.chosen) and await change_everywhere(self, Remove(tuple(chosen)), chosen):
            self.marked.clear()

    def action_keep(self) -> None:
        from core.dataset import kept_tags

        collection, counted, trait = self.app.collection, self.counted, self.traits.row
        if collection is None or counted is None or trait is None or not counted.trigger:
            return
        workspace, dataset, trigger = collection.workspace, collection.name, counted.trigger

        def done(group: EditGroup) -> None:
            self.app.undoing.wrote(group)
            self._count()

        keep = not trait.is_kept
        self.app.writer.submit(
            lambda: kept_tags.keep(workspace, dataset, trigger, trait.tag, keep), done, self.app.report
        )

    # Lines of text: what to find, another name, another trigger word

    async def action_find(self) -> None:
        if not self.query("#find"):
            field = Input(self.tags.word, placeholder="part of a tag", id="find")
            self.where.display = False
            await self.mount(field, before=self.where)
            self.set_focus(field)  # at once: the next key may be there already

    @on(Input.Changed, "#find")
    def _typed(self, event: Input.Changed) -> None:
        self._look_for(event.value)

    @on(Input.Submitted, "#find")
    async def _submitted(self) -> None:
        await self._close_find()

    async def _close_find(self) -> None:
        await self.query("#find").remove()
        self.where.display = True
        self._look_for(self.tags.word)
        self.tags.focus()

    def _look_for(self, word: str) -> None:
        tag, self.tags.word = self.tag, word
        self.tags.put_in_order(tag if not word else None)
        if word:
            self.tags.move(0)
        self._draw()

    def action_next_match(self) -> None:
        self.tags.move(self.tags.cursor + 1)

    def action_previous_match(self) -> None:
        self.tags.move(self.tags.cursor - 1)

    async def action_rename(self) -> None:
        if (tag := self.tag) is not None:
            self._renaming = tag
            await self._type(f"another name for {tag}", tag)

    async def action_trigger(self) -> None:
        self._renaming = None
        await self._type("the trigger word", "")

    async def _type(self, label: str, value: str) -> None:
        await self.query(TagInput).remove()
        await self.query_one("#lists").mount(TagInput(printable(label), value))

    @on(TagInput.Entered)
    async def _entered(self, event: TagInput.Entered) -> None:
        old, words = self._renaming, [clean_tag(tag) for tag in split(event.text.replace("\n", " "))]
        await self._close_input()
        if not words:
            return
        if old is None:
            self._trigger, self._guess = ", ".join(words), False
            self._count()
            if not self.on_traits:
                self.action_next_panel()
        elif words != [old]:
            self._rename(old, ", ".join(words))

    @work(exit_on_error=False)
    async def _rename(self, old: str, new: str) -> None:
        from core.dataset.operations import Rename

        await change_everywhere(self, Rename(old, new), [old])

    @on(TagInput.Left)
    async def _close_input(self) -> None:
        await self.query(TagInput).remove()
        self.seen.focus()
