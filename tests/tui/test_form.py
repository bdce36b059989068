"""The form: one line a field, edited in place."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Input

from tests.tui.stage import Stage
from tui.widgets.form import Field, Form, choice_step, slider


class FormStage(Stage):
    """Records what the form asks of its owner."""

    def __init__(self) -> None:
        self.form = Form(label_width=10)
        super().__init__(self.form)
        self.told: list[tuple[str, ...]] = []

    def compose(self) -> ComposeResult:
        yield self.form

    def on_mount(self) -> None:
        self.form.show(FIELDS)
        self.form.rows.focus()

    def on_form_changed(self, event: Form.Changed) -> None:
        self.told.append(("changed", event.key, event.text))

    def on_form_asked(self, event: Form.Asked) -> None:
        self.told.append(("asked", event.key))

    def on_form_stepped(self, event: Form.Stepped) -> None:
        self.told.append(("stepped", event.key, str(event.by)))

    def on_form_moved(self, event: Form.Moved) -> None:
        self.told.append(("moved", event.key))


FIELDS = [
    Field("", "Group", [], "head"),
    Field("name", "name", [("rinni", "text")], raw="rinni", note="who"),
    Field("flag", "flag", [("no", "muted")], "flag"),
    Field("", "", [], "blank"),
    Field("kind", "kind", [("a", "text")], "choice", problem=("✗", "bad", "is wrong")),
    Field("long", "long", [("one two three four five six seven eight nine ten", "text")], raw="x"),
]


async def test_the_cursor_stops_at_fields_only() -> None:
    """Headings and blank lines are stepped over, both ways; the ends hold."""
    app = FormStage()
    async with app.run_test(size=(40, 10)) as pilot:
        keys = [app.form.key]
        for key in ("j", "j", "j", "j", "k", "k", "k", "k"):
            await pilot.press(key)
            keys.append(app.form.key)
        assert keys == ["name", "flag", "kind", "long", "long", "kind", "flag", "name", "name"]


async def test_enter_edits_and_escape_forgets() -> None:
    """The input opens with the raw value at the value's place; Esc closes it, Enter hands the text over."""
    app = FormStage()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("enter")
        line = app.form.query_one(Input)
        assert line.value == "rinni" and line.region.y == 1 and line.region.x == 12
        await pilot.press(*"fer", "escape")
        assert app.form.rows.has_focus and not any(told[0] == "changed" for told in app.told)
        await pilot.press("enter", *"rinnifer", "enter")  # what was there is selected: typing replaces it
        await pilot.pause()
        assert app.told[-1] == ("changed", "name", "rinnifer") and app.form.rows.has_focus


async def test_choices_and_flags_are_the_owners() -> None:
    """Enter and space on a flag switch it, left and right too; a choice is stepped or asked for."""
    app = FormStage()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("j", "enter", "space", "right")
        assert [each for each in app.told if each[0] != "moved"] == [("asked", "flag")] * 3
        app.told.clear()
        await pilot.press("j", "l", "h", "enter")
        assert [each for each in app.told if each[0] != "moved"] == [
            ("stepped", "kind", "1"),
            ("stepped", "kind", "-1"),
            ("asked", "kind"),
        ]


async def test_problems_and_long_values_are_seen() -> None:
    """A mark before the label, the words behind the value, and `…` where a line ends too soon."""
    app = FormStage()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        rows = app.rows()
        assert rows[4].startswith("✗kind") and rows[4].endswith("is wrong")
        assert rows[5] == " long        one two three four five…"
        assert rows[1] == " name        rinni   who"


async def test_a_long_label_keeps_both_ends() -> None:
    """The labels' column grows to three fifths of the form; a longer label loses its middle. It follows the size."""
    app = FormStage()
    fields = [*FIELDS, Field("workers", "persistent_data_loader_workers", [("no", "muted")], "flag")]
    async with app.run_test(size=(40, 10)) as pilot:
        app.form.show(fields)
        await pilot.pause()
        assert app.rows()[6] == " persistent_data…_workers  no"
        await pilot.resize_terminal(60, 10)
        await pilot.pause()
        assert app.rows()[6] == " persistent_data_loader_workers  no" and app.rows()[1].index("rinni") == 33
        await pilot.press("g", "enter")
        assert app.form.query_one(Input).region.x == 32
        app.form.action_close_input()
        app.form.show(FIELDS)
        await pilot.pause()
        assert app.rows()[1] == " name        rinni   who"


async def test_new_fields_keep_the_cursor_on_its_key() -> None:
    """A field that appears above does not push the cursor to another one."""
    app = FormStage()
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.press("j", "j")
        assert app.form.key == "kind"
        app.form.show([*FIELDS[:1], Field("new", "new", [("1", "text")]), *FIELDS[1:]])
        assert app.form.key == "kind"
        app.form.show(FIELDS[:3])
        assert app.form.key == "name"


async def test_the_heading_above_the_first_field_comes_into_view() -> None:
    """Scrolled down and up again, the group's name is seen with its first field."""
    app = FormStage()
    async with app.run_test(size=(40, 3)) as pilot:
        await pilot.press("G", "g")
        await pilot.pause()
        assert app.rows()[0].strip() == "Group"


def test_choices_go_round_and_sliders_have_ends() -> None:
    """Beyond the last choice is the first one; an unknown value counts as the first."""
    assert choice_step(["a", "b", "c"], "c", 1) == "a"
    assert choice_step(["a", "b", "c"], "a", -1) == "c"
    assert choice_step(["a", "b", "c"], "?", 1) == "b"
    assert slider(0.0).startswith("●") and slider(1.0).endswith("●") and len(slider(0.5)) == 12
