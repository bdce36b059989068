"""The body of the Config screen: groups, form or raw text, what is said about the cursor's field, plan and problems."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual import getters, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import TextArea

from core.text import printable
from tui.screens.config_form import MARKS, options, shown
from tui.screens.config_parts import Groups, Raw, Side, wrapped
from tui.theme import Cells
from tui.widgets.form import Form
from tui.widgets.item_list import ItemList
from tui.widgets.line import Lines

if TYPE_CHECKING:
    from core.config.documents import FileName
    from tui.screens.config_open import OpenConfig

WIDE = 116
"""From this width on the groups stand at the left."""
ABOUT: dict[FileName, str] = {
    "train": "train.toml: the options of the training script.",
    "dataset": "dataset.toml: which folders are trained on, how often, at which size.",
    "prompts": "prompts.txt: one sample picture a line.  --w --h size  --d seed  --s steps  --l guidance  --n negative",
}


class ConfigView(Horizontal):
    """Shows an open config and changes none: what is typed, asked and chosen goes up as its parts' messages."""

    form = getters.query_one(Form)
    side = getters.query_one(Side)
    groups = getters.query_one(Groups)
    about = getters.query_one("#config-about", Lines)
    empty = getters.query_one("#config-empty", Lines)
    left = getters.query_one("#config-left", Vertical)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.file: FileName | None = None
        """The file that stands there as text; None: the form."""
        self.extra: frozenset[str] = frozenset()
        """Options that are shown though they are neither usual nor set."""
        self._opened: OpenConfig | None = None
        self._has_images = False

    def compose(self) -> ComposeResult:
        yield Groups(id="config-groups")
        with Vertical(id="config-left"):
            yield Form(label_width=20)
            yield Lines(id="config-empty")
            yield Lines(id="config-about")
        yield Side(id="config-side")

    # What is shown

    def show(self, opened: OpenConfig | None, *, has_images: bool) -> None:
        """This is open now, or is other than it was; None: no config yet."""
        if opened is not self._opened:
            self.extra = frozenset()
        self._opened, self._has_images = opened, has_images
        self._show()

    def _show(self) -> None:
        opened, narrow = self._opened, self.screen.has_class("-narrow")
        self.groups.display = self.screen.size.width >= WIDE and opened is not None and self.file is None
        self.side.display = opened is not None and (not narrow or self.side.has_focus)
        self.left.display = not (narrow and self.side.display)
        self.empty.display = opened is None
        self.form.display = opened is not None and self.file is None
        self.about.display = opened is not None
        if opened is None:
            self.empty.show(_beginnings(self._has_images))
            return
        if self.file is None:
            self.form.show([] if opened.config.broken else shown(opened.config, self.extra, opened.worst))
            self.groups.tell(self.form.fields, self.form.key)
        self.show_about()
        self.show_side()

    def show_about(self) -> None:
        """What is known of the field under the cursor, or of the file."""
        lines = _about(self._opened, self.file, self.form.key) if self._opened is not None else []
        self.about.show(wrapped(lines, self.about.size.width))
        key = self.form.key if self.file is None else None
        self.about.border_title = Content(f" {printable(key)} ") if key and self._opened is not None else None

    def show_side(self) -> None:
        """Plan and problems."""
        opened = self._opened
        if opened is None:
            self.side.tell(None, (), None, False)
        else:
            self.side.tell(opened.plan, opened.problems, opened.wrong, opened.findings is not None)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    # Text in the form's place

    @property
    def text(self) -> str | None:
        """What the raw editor says; None when it is not there."""
        found = self.query(Raw)
        return found.first(Raw).text if found and self.file is not None else None

    def open_file(self, file: FileName, text: str, error: str = "") -> None:
        """The raw editor on a file, with the cursor in the line that `error` names."""
        self.file = file
        language = None if file == "prompts" else "toml"
        old = self.query(Raw)
        area: TextArea
        if old:
            area = old.first(Raw)
            area.display = True
            area.language = language
            area.load_text(text)
        else:
            area = Raw.code_editor(text, language=language, id="config-raw", soft_wrap=True)
            self.left.mount(area, before=0)
        line = re.search(r"line (\d+)", error)
        if line is not None:
            self.call_after_refresh(area.move_cursor, (int(line[1]) - 1, 0))

    def close_file(self) -> None:
        """The form again. The editor is only hidden: Textual may draw one that is being removed, and cannot."""
        self.file = None
        for area in self.query(Raw):
            area.display = False

    # Panels

    @property
    def main(self) -> Widget:
        """The form's rows, or the raw editor."""
        return self.form.rows if self.file is None else self.query_one(Raw)

    def go(self, panel: Widget | None = None) -> None:
        """Focus a panel, the main one by default; in a narrow terminal it takes the other's place."""
        if self._opened is None:
            return
        panel = panel or self.main
        if self.screen.has_class("-narrow"):
            self.side.display = panel is self.side
            self.left.display = panel is not self.side
        panel.focus()
        self.call_after_refresh(self.show_side)

    def next_panel(self) -> None:
        """Form, plan and problems, groups."""
        panels: list[Widget] = [self.main, self.side]
        if self.groups.display:
            panels.insert(0, self.groups)
        now = next((index for index, panel in enumerate(panels) if panel.has_focus), 0)
        self.go(panels[(now + 1) % len(panels)])

    @on(Form.Moved)
    def _moved(self) -> None:
        self.groups.follow(self.form.key)
        self.show_about()

    @on(ItemList.Moved, "#config-groups")
    def _group_chosen(self, event: ItemList.Moved) -> None:
        if self.groups.has_focus and 0 <= event.index < len(self.groups.firsts):
            self.form.go_to(self.groups.firsts[event.index])

    @on(ItemList.Opened, "#config-groups")
    def _group_opened(self) -> None:
        self.go()


def head(opened: OpenConfig | None, file: FileName | None) -> tuple[Cells, Cells]:
    """The line above the body: left and right part."""
    if opened is None:
        return [(" Config", "accent")], []
    name = f"{file}.{'txt' if file == 'prompts' else 'toml'}" if file else ""
    left: Cells = [(f" {printable(opened.config.name)}", "accent"), (f"  {name}" if name else "", "text")]
    if opened.unsaved:
        again = " since last time: d shows, s saves" if opened.is_restored else ", not saved"
        left.append((f"  changed{again}", "caution"))
    script = opened.findings.script if opened.findings is not None else opened.config.script
    return left, [(f"{script} ", "muted")]


def _beginnings(has_images: bool) -> list[Cells]:
    lines: list[Cells] = [[("No config yet.", "text")], []]
    if not has_images:
        lines += [[("1  ", "accent"), ("and there i: import images first, then 2 tags them", "text")]]
    lines += [
        [("^n ", "accent"), ("make one from a preset", "text")],
        [("i  ", "accent"), ("import a guide, settings of kohya_ss, or a script", "text")],
    ]
    return lines


def _about(opened: OpenConfig, file: FileName | None, key: str | None) -> list[Cells]:
    config = opened.config
    if file is not None:
        error = opened.wrong or config.broken.get(file)
        if error is not None:
            path = config.path(file)
            return [[(" ✗ ", "bad"), (printable(error.message.replace(str(path), path.name)), "text")]]
        return [[(f" {ABOUT[file]}", "muted")], [(" Esc form · ^t next file", "muted")]]
    option, problem = options(config).get(key or ""), opened.worst.get(key or "")
    if problem is not None:
        glyph, role = MARKS[problem.severity]
        fix = "  fix: F" if problem.fixable else ""
        said = f"{problem.message}. {problem.hint or ''}".replace("..", ".").rstrip()
        return [[(f" {glyph} ", role), (printable(said) + fix, "text")]]
    if option is not None:
        default = "" if option.default in (None, "") else f" · default {option.default}"
        lines: list[Cells] = [[(f" {option.help or option.upstream or key}", "text")]]
        lines.append([(f" {config.home(option.name)}.toml{default}", "muted")])
        if option.help and option.upstream:  # the authors' words, behind ours, where there is room
            lines.append([(f" sd-scripts: {printable(option.upstream)}", "muted")])
        return lines
    return []
