"""What the app does on behalf of all screens: undo, recovery, another workspace, help topics, the demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.text import count_of, printable

if TYPE_CHECKING:
    from core.workspace import Workspace
    from tui.app import KohyaApp


def app_path(app: KohyaApp, path: Any) -> str:
    """The path as the user knows it: inside the workspace without the workspace's own."""
    return app.workspace.key_of(path) if app.workspace is not None else str(path)


def way_back(app: KohyaApp) -> str | None:
    """What is said after the app has closed while a run goes on."""
    import shlex

    from core.workspace import find

    if app.workspace is None or app.pulse.run_id is None:
        return None
    here = find(Path.cwd())
    place = "" if here == app.workspace else f" -C {shlex.quote(printable(str(app.workspace.root)))}"
    return f"{app.pulse.name} goes on; see it again: kohya-tui{place}, key 5"


def recover_journal(app: KohyaApp) -> None:
    """Finish or roll back what a killed program left open."""
    if app.workspace is None or not (app.workspace.own / "journal").is_dir():
        return

    def recover() -> list[Any]:
        found: list[Any] = app.journal.recover()
        return found

    def done(groups: list[Any]) -> None:
        for group in groups:
            app.notify(
                f"Recovered after an interruption: {printable(group.label)} ({count_of(group.files, 'file')})",
                markup=False,
            )
        if groups:
            app.dataset_changed.publish(app.active_dataset or "")

    app.writer.submit(recover, done, app.report)


def change_workspace(app: KohyaApp, workspace: Workspace) -> None:
    """Everything that was read from the old one is forgotten; modes that were open are built anew when visited."""
    from core import settings

    app.workspace = workspace
    app.forget_workspace()
    app.settings = settings.load(workspace.root)
    app.settings_changed.publish(app.settings)
    app.dataset_changed.publish("")


def help_topics() -> list[tuple[str, str]]:
    """(title, name) of each page, by its first heading."""
    from importlib.resources import files

    topics = []
    for page in files("core").joinpath("help").iterdir():
        if page.name.endswith(".md"):
            first = page.read_text("utf-8").partition("\n")[0]
            topics.append((first.lstrip("# ").strip() or page.name, page.name.removesuffix(".md")))
    return sorted(topics)


def offer_release(app: KohyaApp) -> None:
    """Runs that wait in vain since the machine was restarted."""
    from tui.screens.monitor_queue import offer_release

    offer_release(app)


def start_demo(app: KohyaApp) -> None:
    """The demo tags and trains by itself, once: a workspace that already has runs is left as it is."""
    if app.workspace is None:
        return
    workspace, settings = app.workspace, app.settings

    def start() -> None:
        from core.demo.workspace import start_runs

        start_runs(workspace, settings)

    app.writer.submit(start, None, app.report)


async def open_demo(app: KohyaApp) -> None:
    """Make the demo beside the folder the app was started in, and go there."""
    import asyncio

    from core.demo.workspace import make_demo

    folder = app.start_folder if app.start_folder.name == "kohya-tui-demo" else app.start_folder / "kohya-tui-demo"
    workspace = await asyncio.to_thread(make_demo, folder)
    app.demo = True
    app.open_workspace(workspace)
    start_demo(app)
