"""To a field: by its name or a word, from a problem, and from problem to problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.config.documents import place_of
from tui.screens.config_form import key_of, neighbour, options

if TYPE_CHECKING:
    from core.problems import Problem
    from tui.screens.config import ConfigScreen


class ConfigFinding:
    """Moves the cursor of the screen's view."""

    def __init__(self, screen: ConfigScreen) -> None:
        self._screen = screen

    def go_to_problem(self, problem: Problem) -> None:
        """The field, else the file that it is about; else its words."""
        screen = self._screen
        if screen.opened is None:
            return
        (file, place), key = place_of(problem.where), key_of(screen.opened.config, problem)
        is_elsewhere = file == "dataset" and place.startswith("datasets[") and not place.startswith(_FIRST)
        if is_elsewhere and place in screen.opened.worst:
            self.reveal(place)
        elif key is not None:
            self.reveal(key)
        elif file is not None:
            screen.raw.show(file)
        elif problem.hint:
            screen.notify(f"{problem.where}: {problem.message}\n{problem.hint}", markup=False)

    def reveal(self, key: str) -> None:
        """The cursor on a field, on the page that has it; it is shown if it was not."""
        self._screen.raw.show(None)
        self._screen.view.reveal(key)
        self._screen.show_head()

    async def ask(self) -> None:
        """Any option, by name or word; what is found is opened."""
        from tui.screens.config_dialogs import choose_option

        screen = self._screen
        config = screen.config
        if config is None or config.broken:
            return
        name = await choose_option(screen.app, config)
        if name is not None:
            self.reveal(name)
            if options(config)[name].type != "bool":  # a flag has nothing to open: Enter switches it
                screen.form.edit()

    def jump(self, by: int) -> None:
        """To the next field that a problem is about, or the one before."""
        screen = self._screen
        worst = screen.opened.worst if screen.opened is not None else {}
        key = neighbour(screen.form.fields, worst, screen.form.key, by)
        if key is None:
            screen.notify("No problem with any field.", timeout=3)
        else:
            self.reveal(key)


_FIRST = "datasets[0].subsets[0]."
