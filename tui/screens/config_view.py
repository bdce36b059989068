"""The body of the Config screen: groups, form, folders, prompts or raw text, what is said about the field, the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from textual import getters, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget

from core.config.documents import FILES
from core.text import printable
from tui.screens.config_about import about
from tui.screens.config_form import FOLDERS, PROMPTS, Extent, Look, marks_of, shown
from tui.screens.config_parts import Groups, Side, wrapped
from tui.theme import Cells
from tui.widgets.form import Form
from tui.widgets.item_list import ItemList
from tui.widgets.line import Lines

if TYPE_CHECKING:
    from textual.widgets import TextArea

    from core.config.documents import FileName
    from tui.screens.config_folders import FolderSheet
    from tui.screens.config_open import OpenConfig
    from tui.screens.config_prompts import PromptSheet
    from tui.widgets.sheet import Sheet

Page = Literal["form", "folders", "prompts"]
PAGES: tuple[Page, ...] = ("form", "folders", "prompts")
_PAGES = {"form": "", "folders": "folders", "prompts": "sample prompts"}
TALL = 32
"""From this height on more is said of a field."""
WIDE = 116
"""From this width on the groups stand at the left."""


class ConfigView(Horizontal):
    """Shows an open config and changes none: what is typed, asked and chosen goes up as its parts' messages."""

    form = getters.query_one("#config-form", Form)
    side = getters.query_one(Side)
    groups = getters.query_one(Groups)
    about = getters.query_one("#config-about", Lines)
    empty = getters.query_one("#config-empty", Lines)
    left = getters.query_one("#config-left", Vertical)

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.page: Page = "form"
        self.file: FileName | None = None
        """The file that stands there as text; None: the page."""
        self.extra: frozenset[str] = frozenset()
        """Options that are shown though they are neither usual nor set."""
        self.extent: Extent = "usual"
        self.root = Path()
        """Where the paths that are typed begin."""
        self._opened: OpenConfig | None = None
        self._has_images = False
        self._typing: str | None = None
        self._sheets: dict[Page, Sheet] = {}
        self._raw: TextArea | None = None

    def compose(self) -> ComposeResult:
        yield Groups(id="config-groups")
        with Vertical(id="config-left"):
            yield Form(label_width=20, value_width=8, id="config-form")
            yield Lines(id="config-empty")
            yield Lines(id="config-about")
        yield Side(id="config-side")

    # What is shown

    def show(self, opened: OpenConfig | None, *, has_images: bool, key: str | None = None) -> None:
        """This is open now, or is other than it was, in `key`; None: no config yet."""
        if opened is not self._opened:
            self.extra, self.page = frozenset(), "form"
        self._opened, self._has_images = opened, has_images
        self._show(key)

    def _show(self, key: str | None = None) -> None:
        opened, narrow = self._opened, self.screen.has_class("-narrow")
        page = self.page if self.file is None and opened is not None else None
        self.groups.display = self.screen.size.width >= WIDE and page == "form"
        self.side.display = opened is not None and (not narrow or self.side.has_focus)
        self.left.display = not (narrow and self.side.display)
        self.empty.display = opened is None
        self.form.display = page == "form"
        for name, sheet in self._sheets.items():
            sheet.display = page == name
        self.about.display = opened is not None and page != "prompts"
        self.about.styles.height = 5 if self.screen.size.height >= TALL else 3
        if opened is None:
            self.empty.show(_beginnings(self._has_images))
            return
        config = opened.config
        if page == "form":
            self.form.root = self.root
            look = Look(opened.worst, opened.plan, self.extra, self.extent, opened.saved)
            self.form.show([] if config.broken else shown(config, look))
            self.groups.tell(self.form.fields, self.form.key)
        elif not self.is_ready:
            self.call_after_refresh(self._show, key)
        elif page == "folders":
            self.folders.form.root = self.root
            counts = opened.findings.counts if opened.findings is not None else {}
            self.folders.tell(config, counts, marks_of(opened.worst), key or None)
        elif page == "prompts":
            named = config.get("train", "sample_prompts")
            other = printable(named) if isinstance(named, str) and named.endswith((".toml", ".json")) else None
            at = key if key and key.startswith("prompt:") else None
            self.prompts.tell(config.prompts, config.script, at, named=other)
        self.show_about()
        if self.about.display and not self.about.size.width:  # just shown again: its width comes with the layout
            self.call_after_refresh(self.show_about)
        self.show_side()

    def show_about(self) -> None:
        """What is known of the field under the cursor, or of the file."""
        key = self.now.key if self.file is None and self.page != "prompts" else None
        lines = about(self._opened, self.file, key, self._typing) if self._opened is not None else []
        self.about.show(wrapped(lines, self.about.size.width))
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

    # Pages

    @property
    def folders(self) -> FolderSheet:
        """The page of folders, which is mounted when it is first asked for."""
        from tui.screens.config_folders import FolderSheet

        found = self._sheet("folders", FolderSheet)
        assert isinstance(found, FolderSheet)
        return found

    @property
    def prompts(self) -> PromptSheet:
        """The page of sample prompts."""
        from tui.screens.config_prompts import PromptSheet

        found = self._sheet("prompts", PromptSheet)
        assert isinstance(found, PromptSheet)
        return found

    def _sheet(self, page: Page, kind: type[Sheet]) -> Sheet:
        if page not in self._sheets:
            self._sheets[page] = sheet = kind(id=f"config-{page}")
            self.left.mount(sheet, after=self.form)
        return self._sheets[page]

    @property
    def is_ready(self) -> bool:
        """Whether the page has its parts already."""
        return self.page == "form" or (self.folders if self.page == "folders" else self.prompts).is_composed

    @property
    def now(self) -> Form:
        """The form that the cursor is in."""
        if self.page == "form" or not self.is_ready:
            return self.form
        return self.folders.form if self.page == "folders" else self.prompts.form

    def turn(self, page: Page) -> None:
        """Show another page, and go to it."""
        self.page = page
        self._show()
        self.go()

    def reveal(self, key: str) -> None:
        """The cursor on a field, on the page that has it; it is shown if it was not."""
        if key.startswith("prompt:") or key == PROMPTS:
            self.page = "prompts"
        elif key.startswith(("datasets[", "general.")) or key == FOLDERS:
            self.page = "folders"
        else:
            self.page = "form"
            self.extra |= {key}
        self._show(key if key not in {PROMPTS, FOLDERS} else None)
        if not self.is_ready:
            self.call_after_refresh(self.reveal, key)
            return
        self.now.go_to(key)
        self.go(self.now.rows if self.page == "form" or self.now.key == key else None)

    @property
    def raw_file(self) -> FileName:
        """The file that the page, or the field under the cursor, is a view of."""
        if self.page != "form" or self._opened is None:
            return "prompts" if self.page == "prompts" else "dataset"
        key = self.form.key
        if key in {FOLDERS, PROMPTS}:
            return "dataset" if key == FOLDERS else "prompts"
        return self._opened.config.home(key) if key else "train"

    @property
    def key(self) -> str | None:
        """The key of the field or row under the cursor."""
        if self.page == "folders" and self.is_ready and self.folders.table.has_focus:
            first = "image_dir" if (node := self.folders.node) is not None and node.subset is not None else "resolution"
            return f"{node.place}.{first}" if node is not None else None
        return self.now.key

    # Text in the page's place

    @property
    def text(self) -> str | None:
        """What the raw editor says; None when it is not there."""
        return self._raw.text if self._raw is not None and self.file is not None else None

    @property
    def line(self) -> int:
        """The line of the raw editor's cursor, from 0."""
        return self._raw.cursor_location[0] if self._raw is not None else 0

    def open_file(
        self, file: FileName, text: str, at: tuple[int, int] | None = None, *, read_only: bool = False
    ) -> None:
        """The raw editor on a file, with the cursor `at` a line and column, from 0."""
        from tui.screens.config_editor import Raw

        self.file = file
        language = None if file == "prompts" else "toml"
        area = self._raw
        if area is None:
            self._raw = area = Raw.code_editor(text, language=language, id="config-raw", soft_wrap=True)
            self.left.mount(area, before=0)
        else:
            area.display = True
            area.language = language
            area.load_text(text)
        area.read_only = read_only
        if at is not None:
            self.call_after_refresh(self.go_to_place, at)

    def go_to_place(self, at: tuple[int, int]) -> None:
        """The raw editor's cursor to a line and column, from 0."""
        if self._raw is not None:
            self._raw.move_cursor(at, center=True)

    def close_file(self) -> None:
        """The page again. The editor is only hidden: Textual may draw one that is being removed, and cannot."""
        self.file = None
        if self._raw is not None:
            self._raw.display = False

    # Panels

    @property
    def main(self) -> Widget:
        """The form's rows, the table of a page, or the raw editor."""
        if self.file is not None and self._raw is not None:
            return self._raw
        if self.page == "form" or not self.is_ready:
            return self.form.rows
        return self.folders.table if self.page == "folders" else self.prompts.table

    def step_back(self) -> bool:
        """From fields to their table, from a page to the form, from another panel to the main one."""
        sheet = self._sheets.get(self.page)
        if self.side.has_focus or self.groups.has_focus:
            self.go()
        elif sheet is None:
            return False
        elif not sheet.step_back():
            self.turn("form")
        return True

    def go(self, panel: Widget | None = None) -> None:
        """Focus a panel, the main one by default; in a narrow terminal it takes the other's place."""
        if self._opened is None:
            return
        if panel is None and self.file is None and not self.is_ready:
            self.call_after_refresh(self.go)
            return
        panel = panel or self.main
        if self.screen.has_class("-narrow"):
            self.side.display = panel is self.side
            self.left.display = panel is not self.side
        panel.focus()
        self.call_after_refresh(self.show_side)

    def next_panel(self) -> None:
        """Groups, form (or table and its fields), plan and problems."""
        panels: list[Widget] = [self.main, self.side]
        if self.groups.display:
            panels.insert(0, self.groups)
        if self.file is None and self.page != "form" and self.now.fields:
            panels.insert(-1, self.now.rows)
        now = next((index for index, panel in enumerate(panels) if panel.has_focus), 0)
        self.go(panels[(now + 1) % len(panels)])

    @on(Form.Moved)
    def _moved(self) -> None:
        self._typing = None
        if self.page == "form":
            self.groups.follow(self.form.key)
        self.show_about()

    @on(Form.Typing)
    def _typed(self, event: Form.Typing) -> None:
        self._typing = event.text
        self.show_about()

    @on(ItemList.Moved, "#config-groups")
    def _group_chosen(self, event: ItemList.Moved) -> None:
        if self.groups.has_focus and 0 <= event.index < len(self.groups.firsts):
            self.form.go_to(self.groups.firsts[event.index])

    @on(ItemList.Opened, "#config-groups")
    def _group_opened(self) -> None:
        self.go()


def head(opened: OpenConfig | None, view: ConfigView) -> tuple[Cells, Cells]:
    """The line above the body: left and right part."""
    if opened is None:
        return [(" Config", "accent")], []
    name = FILES[view.file] if view.file else _PAGES[view.page]
    left: Cells = [(f" {printable(opened.config.name)}", "accent"), (f"  {name}" if name else "", "text")]
    if opened.unsaved:
        again = " since last time: d shows, s saves" if opened.is_restored else ", not saved"
        left.append((f"  changed{again}", "caution"))
    if view.page == "form" and view.file is None and view.extent != "usual":
        left.append(("  only what is set" if view.extent == "set" else "  every option", "second"))
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
