"""What a change of focus sends: the lines that look different, never the whole screen."""

from __future__ import annotations

import pytest
from rich.console import Console
from textual._compositor import ChopsUpdate, Compositor, LayoutUpdate

from core.config.presets import draft, write_new
from core.workspace import Workspace
from tests.tui.config_kit import checked
from tests.tui.kit import app_on, make_dataset, ready, until
from tui.screens.config import ConfigScreen
from tui.trim import TrimmedCompositor


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every update of the screen as the terminal would get it."""
    console = Console(width=200, force_terminal=True, color_system="truecolor")
    updates: list[str] = []
    partial, full = TrimmedCompositor.render_partial_update, Compositor.render_full_update

    def render_partial(self: TrimmedCompositor) -> ChopsUpdate | None:
        update = partial(self)
        updates.append("" if update is None else update.render_segments(console))
        return update

    def render_full(self: Compositor, simplify: bool = False) -> LayoutUpdate:
        update = full(self, simplify)
        updates.append(update.render_segments(console))
        return update

    monkeypatch.setattr(TrimmedCompositor, "render_partial_update", render_partial)
    monkeypatch.setattr(Compositor, "render_full_update", render_full)
    return updates


async def test_tab_repaints_two_lines_of_the_dataset(workspace: Workspace, sent: list[str]) -> None:
    """From the images to the tree: the two cursors, the title and the keys; the whole screen would be 15 kB."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.pause(0.2)
        for _ in range(2):
            sent.clear()
            before = app.screen.focused
            await pilot.press("tab")
            await until(pilot, lambda before=before: app.screen.focused is not before)
            assert 0 < sum(map(len, sent)) < 3000


async def test_tab_repaints_the_marked_lines_of_the_config(workspace: Workspace, sent: list[str]) -> None:
    """Form, problems, groups: the lines of the problem under the cursor are lit together, the rest stays."""
    make_dataset(workspace)
    write_new(draft(workspace, "rinni", "demo", "rinni"))
    app = app_on(workspace, trainer="demo")
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, ConfigScreen))
        screen = app.screen
        assert isinstance(screen, ConfigScreen)
        await checked(pilot, screen)
        lit = screen.app.paint("text", "cursor").bgcolor
        for panel in (screen.side, screen.groups, screen.form.rows):
            sent.clear()
            await pilot.press("tab")
            await until(pilot, lambda panel=panel: panel.has_focus)
            assert 0 < sum(map(len, sent)) < 5000
            if panel is screen.side:
                assert panel.problem is not None
            strips = screen._compositor.render_strips()
            rows = [strip.crop(panel.region.x, panel.region.right) for strip in strips]
            assert [row for row in rows if any(part.style is not None and part.style.bgcolor == lit for part in row)]
