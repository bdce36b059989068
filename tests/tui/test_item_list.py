"""The list that is drawn line by line."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.geometry import Region

from tui.theme import THEMES, Cells, Paint, fit, words
from tui.widgets.item_list import ItemList


class Numbers:
    """A hundred thousand rows that cost nothing."""

    asked = 0

    def __len__(self) -> int:
        return 100_000

    def cells(self, index: int, width: int) -> Cells:
        self.asked += 1
        return [(f"row {index}", "text")]


def _app(rows: Numbers):  # type: ignore[no-untyped-def]
    from textual.app import App

    class ListApp(App[None]):
        def __init__(self) -> None:
            super().__init__()
            self.moved: list[int] = []
            self.marked: list[list[int]] = []
            for theme in THEMES:
                self.register_theme(theme)
            self.theme = "night"

        @property
        def paint(self) -> Paint:
            return Paint(self.theme_variables)

        def compose(self) -> ComposeResult:
            yield ItemList(rows, marking=True)

        def on_item_list_moved(self, event: ItemList.Moved) -> None:
            self.moved.append(event.index)

        def on_item_list_marked(self, event: ItemList.Marked) -> None:
            self.marked.append(list(event.indices))

    return ListApp()


async def test_only_visible_rows_are_asked_for() -> None:
    """A list of 100,000 opens, jumps and pages without touching the rest."""
    rows = Numbers()
    app = _app(rows)
    async with app.run_test(size=(60, 20)) as pilot:
        listing = app.query_one(ItemList)
        listing.focus()
        await pilot.pause()
        await pilot.press("G")
        await pilot.pause()
        assert listing.cursor == 99_999 and listing.visible_rows() == range(99_980, 100_000)
        await pilot.press("g", "ctrl+d", "j", "k", "k")
        await pilot.pause()
        assert listing.cursor == 9 and app.moved[-1] == 9
        assert rows.asked < 400


async def test_a_move_inside_the_page_repaints_two_rows() -> None:
    """The cursor costs two lines, not a screen."""
    rows = Numbers()
    app = _app(rows)
    async with app.run_test(size=(60, 20)) as pilot:
        app.query_one(ItemList).focus()
        await pilot.pause()
        before = rows.asked
        await pilot.press("j")
        await pilot.pause()
        assert rows.asked - before == 2


async def test_marks_go_to_the_owner() -> None:
    """Space marks and goes on, `v` marks up to here, `A` all."""
    app = _app(Numbers())
    async with app.run_test(size=(60, 20)) as pilot:
        app.query_one(ItemList).focus()
        await pilot.press("j", "space", "j", "j", "v")
        await pilot.pause()
        assert app.marked == [[1], [1, 2, 3, 4]]


def test_nothing_is_cut_in_the_middle_of_a_tag() -> None:
    """What does not fit is left out whole, and a name keeps its number."""
    assert words(["1girl", "solo", "blue eyes"], 13) == "1girl, solo"
    assert words(["1girl", "solo", "blue eyes"], 15) == "1girl, solo, …"
    assert words(["a very long tag indeed"], 10) == "a very lo…"
    assert fit("rinni_with_a_long_name_012.png", 16, middle=True) == "rinni_with…2.png"
    assert fit("狐の耳", 5) == "狐の…"
    assert fit("12", 4, right=True) == "  12"


async def test_rows_that_are_the_same_are_not_sent_again() -> None:
    """Of a list whose rows changed only the lines that look different are repainted."""
    rows = Numbers()
    app = _app(rows)
    async with app.run_test(size=(40, 20)) as pilot:
        view = app.query_one(ItemList)
        await pilot.pause()
        dirty: list[Region] = []
        refresh = view.refresh
        view.refresh = lambda *regions, **how: (dirty.extend(regions), refresh(*regions, **how))[1]  # type: ignore[method-assign, assignment, func-returns-value]
        rows.cells = lambda index, width: [(f"row {index}" + "!" * (index == 3), "text")]  # type: ignore[method-assign]
        view.rows_changed()
        assert [region.y for region in dirty] == [3]


async def test_a_row_that_is_too_long_ends_in_an_ellipsis() -> None:
    """Nobody takes half a sentence for a whole one; blanks at the end are no loss."""
    rows = Numbers()
    rows.cells = lambda index, width: [("a word ", "text"), ("x" * (width - 8 + index) + "  ", "muted")]  # type: ignore[method-assign]
    app = _app(rows)
    async with app.run_test(size=(20, 10)) as pilot:
        await pilot.pause()
        view = app.query_one(ItemList)
        lines = [view.render_line(y).text for y in range(3)]
        room = view.scrollable_content_region.width - len("a word ")
        assert lines[0].rstrip() == "a word " + "x" * (room - 1) and lines[2] == "a word " + "x" * (room - 1) + "…"
