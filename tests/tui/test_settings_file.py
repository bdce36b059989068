"""The settings files while the app is open."""

from __future__ import annotations

from core.settings import WORKSPACE_FILE, save_user
from core.workspace import Workspace
from tests.tui.kit import toasts
from tests.tui.test_monitor import app_for, until


async def test_what_is_changed_in_the_files_is_in_force_at_once(workspace: Workspace) -> None:
    """trainer = "demo" written into kohya-tui.toml by hand: said and used without a restart; a broken file is told."""
    app = app_for(workspace)
    heard: list[str] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.settings_changed.subscribe(app.screen, lambda found: heard.append(found.trainer))
        app.beat.start()
        await until(pilot, lambda: app.beat._settings is not None and app.beat._settings._seen != ())
        file = workspace.root / WORKSPACE_FILE
        before = file.read_text() if file.exists() else ""
        file.write_text(before + '\ntrainer = "demo"\n')
        await until(pilot, lambda: app.settings.trainer == "demo")
        await until(pilot, lambda: "The settings were read anew: trainer" in toasts(app))
        assert heard == ["demo"]
        save_user("theme", "day")
        await until(pilot, lambda: app.theme == "day")
        file.write_text("trainer = ")
        await until(pilot, lambda: any("kohya-tui.toml" in text for text in toasts(app)))
