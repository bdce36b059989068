"""Sample prompts as a table, one of them as a form below it; in Config, and for a run that goes on."""

from __future__ import annotations

from textual import on, work
from textual.message import Message

from core.config import prompts
from core.problems import UserError
from core.text import printable
from tui.screens.dialogs import Ask
from tui.theme import Cells, fit
from tui.widgets.form import Field, Form
from tui.widgets.item_list import ItemList
from tui.widgets.sheet import Sheet, SheetRows
from tui.wiring import OurApp

_STEP = {"w": 64, "h": 64, "d": 1, "s": 1, "l": 0.5, "g": 0.5}
_NONE = "No prompts yet: a adds one."
_USUAL = ("n", "w", "h", "d", "s", "l")


class PromptRows:
    """The lines of a prompt file that are not blank: prompts in columns, comments muted."""

    def __init__(self, text: str, script: str) -> None:
        self.lines = prompts.lines_of(text)
        self.at = [number for number, line in enumerate(self.lines) if line.strip()]
        self._script = script

    def __len__(self) -> int:
        return len(self.at)

    def cells(self, index: int, width: int) -> Cells:
        line = self.lines[self.at[index]]
        if not prompts.is_prompt(line):
            return [(f"    {fit(printable(line.strip()), max(8, width - 4))}", "muted")]
        number = sum(prompts.is_prompt(self.lines[each]) for each in self.at[: index + 1])
        drawn, given = prompts.effective(line, self._script), prompts.parse(line)
        tail: Cells = [
            (f"{drawn['width']:>6}×{drawn['height']:<5}", _role(given, "width", "height")),
            (f"{given.get('seed', 'any'):>8}", _role(given, "seed")),
            (f"{drawn['sample_steps']:>6}", _role(given, "sample_steps")),
            (f"{drawn['scale']:>6g}", _role(given, "scale")),
        ]
        room = width - 4 - 33
        text = fit(printable(given["prompt"]), max(8, room))
        wrong = prompts.complaint(line)
        return [(f"{number:>3} ", "caution" if wrong else "muted"), (text, "text"), *(tail if room >= 12 else [])]


def _head(width: int) -> str:
    room = width - 4 - 33
    return f"    {fit('prompt', max(8, room))}" + (
        f"{'size':>9}   {'seed':>8}{'steps':>6}{'cfg':>6}" if room >= 12 else ""
    )


def _role(given: dict[str, object], *keys: str) -> str:
    return "text" if all(key in given for key in keys) else "muted"


class PromptSheet(Sheet):
    """Changes nothing itself: `Edited` carries the text as it should be."""

    app = OurApp()

    class Edited(Message):
        """The prompts are to be `text`; `key` names the field that it was about."""

        def __init__(self, text: str, key: str) -> None:
            super().__init__()
            self.text, self.key = text, key

    def __init__(self, *, on: str = "background", id: str | None = None) -> None:
        super().__init__(label_width=10, empty=_NONE, on=on, id=id)
        self._text, self._script = "", ""

    def tell(self, text: str, script: str, key: str | None = None, *, named: str | None = None) -> None:
        """Show these prompts; the cursor goes to the line of `key`, or stays.

        `named` is another file that the trainer reads instead while these are empty: one of TOML or JSON.
        """
        now = self.line_at
        self.table.empty = (
            f"{named} is read: it is changed in an editor. a makes a prompts.txt instead." if named else _NONE
        )
        self._text, self._script = text, script
        rows = PromptRows(text, script)
        line, _ = split(key) if key is not None else (now, "")
        if line is None:
            line = next(iter(prompts.prompt_lines(text)), None)
        at = next((index for index, number in enumerate(rows.at) if number >= (line or 0)), len(rows.at) - 1)
        self.show(_head, rows, at)
        self._show_line()
        if key is not None:
            self.form.go_to(key)

    @property
    def line_at(self) -> int | None:
        """The number of the line under the cursor."""
        rows = self.table.rows
        at = self.table.cursor
        return rows.at[at] if isinstance(rows, PromptRows) and 0 <= at < len(rows.at) else None

    def _show_line(self) -> None:
        number = self.line_at
        line = prompts.lines_of(self._text)[number] if number is not None else ""
        if number is None or not prompts.is_prompt(line):
            said = "a comment, which the trainer passes over" if line else ""
            self.show_fields([(f" {said}", "muted")], [])
            return
        wrong = prompts.complaint(line)
        drawn = f" drawn: {printable(prompts.as_drawn(line, self._script))}"
        self.show_fields([(drawn, "second"), (f"   {printable(wrong or '')}", "caution")], self._fields(number, line))

    def _fields(self, number: int, line: str) -> list[Field]:
        usual = prompts.defaults(self._script)
        found = [_field(number, "", "prompt", prompts.value_of(line, ""), "")]
        for option in prompts.shown_options(self._script, [line]):
            default = usual.get(option.key)
            shown = f"{default:g}" if isinstance(default, float) else "–" if default is None else str(default)
            note = "" if option.flag in _USUAL else f"--{option.flag}"
            found.append(_field(number, option.flag, option.label, prompts.value_of(line, option.flag), shown, note))
        found.append(Field("", "", [], "blank"))
        found.append(Field("", "", [(f"{printable(line.strip())}", "muted")], "head"))
        return found

    @on(ItemList.Moved)
    def _moved(self, event: ItemList.Moved) -> None:
        event.stop()
        if event.list is self.table:
            self._show_line()

    @on(Form.Moved)
    @on(Form.Typing)
    def _quiet(self, event: Form.Moved) -> None:
        """Of a prompt everything is said above its fields."""
        event.stop()

    # Changes

    @on(Form.Changed)
    def _typed(self, event: Form.Changed) -> None:
        event.stop()
        self.set_value(event.key, event.text)

    @on(Form.Stepped)
    def _stepped(self, event: Form.Stepped) -> None:
        event.stop()
        number, flag = split(event.key)
        by = _STEP.get(flag)
        if number is None or by is None:
            return
        option = prompts.BY_FLAG[flag]
        now = prompts.effective(prompts.lines_of(self._text)[number], self._script).get(option.key, prompts.SEED)
        self.set_value(
            event.key, f"{max(0, now + event.by * by):g}" if isinstance(by, float) else str(now + event.by * by)
        )

    def set_value(self, key: str, text: str) -> None:
        """One option of one prompt; nothing typed removes it."""
        number, flag = split(key)
        if number is None:
            return
        try:
            line = prompts.with_value(prompts.lines_of(self._text)[number], flag, text)
        except UserError as error:
            self.app.report(error)
        else:
            self.post_message(self.Edited(prompts.replace(self._text, number, line), key))

    def unset(self) -> None:
        """Take the option under the cursor out of its line."""
        key = self.form.key
        if key is not None and split(key)[1]:
            self.set_value(key, "")

    @on(SheetRows.Wanted)
    def _wanted(self, event: SheetRows.Wanted) -> None:
        event.stop()
        number, text = self.line_at, self._text
        if event.wish == "add":
            self._add()
            return
        if number is None:
            return
        lines = prompts.lines_of(text)
        if event.wish == "remove":
            self.post_message(self.Edited(prompts.remove(text, number), key_of(number)))
        elif event.wish == "copy":
            line = lines[number]
            if prompts.is_prompt(line):  # the same picture twice would tell nothing
                seeds = {prompts.parse(each).get("seed") for each in lines}
                seed = next(each for each in range(prompts.SEED, prompts.SEED + len(seeds) + 1) if each not in seeds)
                line = prompts.with_value(line, "d", str(seed))
            self.post_message(self.Edited(prompts.insert(text, line, number + 1), key_of(number + 1)))
        else:
            rows = self.table.rows
            assert isinstance(rows, PromptRows)
            to = event.index + (1 if event.wish == "down" else -1)
            if 0 <= to < len(rows.at):
                other = rows.at[to]
                self.post_message(self.Edited(prompts.swap(text, number, other), key_of(other)))

    @work(exit_on_error=False)
    async def _add(self) -> None:
        script = self._script

        def wrong(text: str) -> str | None:
            try:
                prompts.new_line(text, script)
            except UserError as error:
                return error.message
            return None

        side = prompts.size_of(script)
        label = f"What should be in the picture; {side}×{side} and a seed of its own are filled in"
        found = await self.app.push_screen_wait(Ask("New prompt", label, check=wrong))
        if found is not None:
            line = prompts.new_line(found, script, self._text)
            text = prompts.insert(self._text, line)
            self.post_message(self.Edited(text, key_of(len(prompts.lines_of(text)) - 1)))


def key_of(line: int, flag: str = "") -> str:
    """The name of one option of one line."""
    return f"prompt:{line}:{flag}"


def split(key: str) -> tuple[int | None, str]:
    """(line, flag) of such a name; None for any other."""
    head, _, rest = key.partition(":")
    number, _, flag = rest.partition(":")
    return (int(number), flag) if head == "prompt" and number.isdecimal() else (None, "")


def _field(number: int, flag: str, label: str, text: str, default: str, note: str = "") -> Field:
    value: Cells = [(printable(text), "text")] if text else [(default, "muted")]
    return Field(key_of(number, flag), label, value, raw=text, note=note, mark=("•", "accent") if text else None)
