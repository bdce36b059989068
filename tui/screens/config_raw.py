"""The raw text in the form's place: opened at the same spot, put into the documents, and left again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.problems import UserError
from tui.screens.config_places import key_at, place_in

if TYPE_CHECKING:
    from core.config.documents import FileName
    from tui.screens.config import ConfigScreen
    from tui.screens.config_open import OpenConfig


class ConfigRaw:
    """Between the editor of the screen's view and the documents that are open."""

    def __init__(self, screen: ConfigScreen) -> None:
        self._screen = screen

    def flip(self) -> None:
        """From the page to the text of its file, or back; both stay at the same place."""
        view, opened = self._screen.view, self._screen.opened
        if opened is None:
            return
        if view.file is None:
            self.show(view.raw_file)
            return
        file, line = view.file, view.line
        if self.show(None) and file not in opened.config.broken:
            key = key_at(opened.config, file, line)
            if key is not None:
                self._screen.finding.reveal(key)

    def show(self, file: FileName | None) -> bool:
        """The page, or a file as text: at its mistake, else at what the cursor is on. False: text that is no TOML."""
        view, opened = self._screen.view, self._screen.opened
        if opened is None or file == view.file:
            return True
        key = view.key
        if not self._screen.take_raw():
            return False
        opened.end_raw(counts=True)
        if file is None:
            view.close_file()
        else:
            text = opened.begin_raw(file)
            view.open_file(file, text, place_in(opened, file, text, key), read_only=opened.is_shut(file))
        self._screen.show()
        view.go()
        return True

    def take(self, *, quiet: bool) -> bool | None:
        """Put the text into the documents: True when they are other now, None when not, False when it is not TOML."""
        view, opened = self._screen.view, self._screen.opened
        file, text = view.file, view.text
        if opened is None or file is None or text is None:
            return None
        try:
            return True if opened.type_raw(file, text) else None
        except UserError as error:
            if not quiet:
                self._point(opened, file, error)
            return False

    def _point(self, opened: OpenConfig, file: FileName, error: UserError) -> None:
        """To the mistake; what it is stands below the editor already."""
        at = place_in(opened, file, "", None)
        if at is None:
            self._screen.app.report(error)
            return
        self._screen.view.go_to_place(at)
        way = "ctrl+z takes back what was typed" if file in opened.unsaved else "e opens $EDITOR"
        said = f"{opened.config.path(file).name}, line {at[0] + 1} is not TOML yet: mend it, or {way}."
        self._screen.notify(said, severity="warning", timeout=5, markup=False)
