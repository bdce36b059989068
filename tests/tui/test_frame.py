"""The frame: modes, going back, undo, errors, themes, and what a terminal gets sent."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from textual.widgets import HelpPanel

from core.problems import UserError
from core.settings import CHOICES
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, toasts, until
from tui.chores import help_topics
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.item_list import ItemList


async def test_five_modes_on_five_digits(workspace: Workspace) -> None:
    """Each digit opens its mode; on its top Esc does nothing."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        for key, mode in zip("2345", ("tag", "review", "config", "monitor"), strict=True):
            await pilot.press(key)
            await until(pilot, lambda mode=mode: app.current_mode == mode)
            assert app.screen.query_one(Header) and app.screen.query_one(Footer)
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert app.current_mode == "monitor"


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids=str)
async def test_the_frame_fits_the_terminal(workspace: Workspace, size: tuple[int, int]) -> None:
    """One header line with the five modes, one footer line, neither wider than the screen."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=size) as pilot:
        await ready(pilot, app)
        header, footer = app.screen.query_one(Header).plain.split("\n"), app.screen.query_one(Footer).plain.split("\n")
        assert "1 Dataset  2 Tag  3 Review  4 Config  5 Monitor" in header[0]
        assert all(len(line) <= size[0] for line in [*header, *footer])
        assert "filter" in footer[1] and "undo" in footer[1]


@pytest.mark.parametrize("theme", CHOICES["theme"])
async def test_every_theme_draws_every_screen_of_ours(workspace: Workspace, theme: str) -> None:
    """Also the terminal's own colours know all of our roles."""
    make_dataset(workspace)
    app = app_on(workspace, theme=theme)
    async with app.run_test(size=(100, 30)) as pilot:
        await ready(pilot, app)
        await pilot.press("3")
        await pilot.pause()
        assert app.theme == theme
        for role in (
            "text",
            "muted",
            "accent",
            "second",
            "good",
            "caution",
            "bad",
            "rule",
            "tag-general",
            "tag-rating",
        ):
            assert app.paint(role).color is not None


async def test_a_first_run_offers_two_ways(tmp_path: Path) -> None:
    """An empty folder: a sentence, two choices, and nothing to dismiss."""
    app = app_on(None)
    app.start_folder = tmp_path
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.focused is not None)
        assert isinstance(app.focused, ItemList) and len(app.focused.rows) == 2
        await pilot.press("u")
        await until(pilot, lambda: toasts(app) != [])
        assert "no workspace" in toasts(app)[0]


async def test_errors_are_told_and_bugs_are_logged(workspace: Workspace, logged: Path) -> None:
    """A UserError shows its remedy; a bug names the log, which has the traceback; the app goes on."""
    app = app_on(workspace)
    async with app.run_test() as pilot:
        app.report(UserError("The disk [red]is full", "Free some space."))
        app.report(ValueError("a bug of ours"))
        await pilot.pause()
        assert toasts(app)[0] == "The disk [red]is full\nFree some space."
        assert str(logged) in toasts(app)[1]
        assert "ValueError: a bug of ours" in logged.read_text("utf-8")


async def test_help_opens_and_esc_closes_it(workspace: Workspace) -> None:
    """The panel lists the keys of where we are."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen.query(HelpPanel)) == 1)
        await pilot.press("escape")
        await until(pilot, lambda: not app.screen.query(HelpPanel))


async def test_help_that_is_longer_than_the_window_is_turned_by_its_key(workspace: Workspace) -> None:
    """On 80 by 24 every key is within reach without a mouse: `?` turns the pages, and closes after the last."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        await pilot.press("question_mark")
        await until(pilot, lambda: any(panel.max_scroll_y > 20 for panel in app.screen.query(HelpPanel)))
        panel = app.screen.query_one(HelpPanel)
        end = panel.max_scroll_y
        while panel.scroll_offset.y < end:
            before = panel.scroll_offset.y
            await pilot.press("question_mark")
            await until(pilot, lambda before=before: panel.scroll_offset.y > before)  # type: ignore[misc]
        await pilot.press("question_mark")
        await until(pilot, lambda: not app.screen.query(HelpPanel))


async def test_a_dataset_that_is_gone_is_told(workspace: Workspace) -> None:
    """Somebody removed its folder: a sentence, and the app stays."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test() as pilot:
        await ready(pilot, app)
        app.active_dataset = "gone"
        await until(pilot, lambda: toasts(app) != [])
        assert "There is no dataset 'gone'" in toasts(app)[0]
        app.active_dataset = "rinni"
        await ready(pilot, app)


async def test_the_documentation_opens_as_a_page(workspace: Workspace) -> None:
    """Every topic can be read in the app, and Esc closes it."""
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        topics = help_topics()
        assert topics
        app.open_help(topics[0][1])
        await until(pilot, lambda: len(app.screen_stack) == 2 and app.screen.query("#page"))
        await pilot.press("j", "ctrl+d", "G", "g", "escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)


async def test_keys_can_be_moved_by_the_settings(workspace: Workspace) -> None:
    """`[keys]` in the settings names a binding by its id."""
    make_dataset(workspace)
    app = app_on(workspace, keys={"mode.monitor": "f9"})
    async with app.run_test() as pilot:
        await ready(pilot, app)
        await pilot.press("f9")
        await until(pilot, lambda: app.current_mode == "monitor")


async def test_the_palette_has_what_the_keys_do(workspace: Workspace) -> None:
    """Every entry comes from a binding, a help topic or a theme."""
    from tui.commands import BindingCommands, HelpCommands, ThemeCommands

    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test() as pilot:
        await ready(pilot, app)
        names = [name for name, _, _ in BindingCommands(app.screen).commands()]
        assert {"Import images", "Tag this dataset", "Undo the last change on disk", "Go to Monitor"} <= set(names)
        assert len(names) == len(set(names))
        assert any(name.startswith("Help: ") for name, _, _ in HelpCommands(app.screen).commands())
        assert "Theme: day" in [name for name, _, _ in ThemeCommands(app.screen).commands()]


def in_a_terminal(workspace: Workspace) -> tuple[subprocess.Popen[bytes], int]:
    """The app on a terminal that is not its session's, and our end of it."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tui", "-C", str(workspace.root)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(slave)
    return process, master


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_leave_a_clean_terminal(workspace: Workspace, number: signal.Signals, code: int) -> None:
    """Terminated or hung up: the alternate screen is left, mouse and cursor are as before."""
    make_dataset(workspace)
    process, master = in_a_terminal(workspace)
    output = b""
    deadline = time.monotonic() + 30
    sent = False
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 0.05)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        output += chunk
        if not sent and b"rinni_10.png" in output:
            process.send_signal(signal.SIGCONT)  # tmux sends it at times; Textual alone would hang at the end then
            process.send_signal(number)
            sent = True
    assert process.wait(10) == code
    os.close(master)
    assert output.rfind(b"\x1b[?1049l") > output.rfind(b"\x1b[?1049h") >= 0
    assert output.rfind(b"\x1b[?25h") > output.rfind(b"\x1b[?25l")
    assert output.rfind(b"\x1b[?1003l") > output.rfind(b"\x1b[?1003h")


def test_an_app_whose_terminal_went_without_a_word_ends(workspace: Workspace) -> None:
    """No SIGHUP reaches it (it is not the terminal's session): it ends all the same, and does not burn the CPU."""
    make_dataset(workspace)
    process, master = in_a_terminal(workspace)
    output, deadline = b"", time.monotonic() + 60
    while b"rinni_10.png" not in output and time.monotonic() < deadline:
        output += os.read(master, 65536)
    os.close(master)
    assert process.wait(60) == 129


async def test_the_footer_says_what_the_keys_do_now(workspace: Workspace) -> None:
    """In a line of text Enter and Esc; under a dialog nothing; at 80 columns undo, help and the way to the datasets."""
    from tui.screens.dialogs import Choose

    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot, app)
        screen, footer = app.screen, app.screen.query_one(Footer)
        await until(pilot, lambda: all(text in footer.plain for text in ("tab datasets", "u undo", "? help")))
        await pilot.press("slash")
        await until(pilot, lambda: footer.plain.split("\n")[1].startswith(" ⏎ take it  Esc back"))
        assert "import" not in footer.plain
        await pilot.press("escape", "o")
        await until(pilot, lambda: isinstance(app.screen, Choose) and footer.plain.split("\n")[1].strip() == "")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen and "i import" in footer.plain)
        await pilot.press("3")
        await until(pilot, lambda: app.current_mode == "review")
        review = app.screen.query_one(Footer)
        await until(pilot, lambda: all(text in review.plain for text in ("m reviewed", "u undo", "? help")))
        await pilot.press("a")
        await until(pilot, lambda: "⏎ take it  Esc back" in review.plain and "done" not in review.plain)


async def test_the_help_panel_lists_keys_of_ours(workspace: Workspace) -> None:
    """Neither Textual's own focus and copy keys nor its scrolling are in it, and no key that does nothing yet."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        active = app.screen.active_bindings
        assert not {"ctrl+c", "super+c"} & set(active)
        assert "Focus Next" not in {each.binding.description for each in active.values()}


async def test_a_toast_ends_with_its_mode(workspace: Workspace) -> None:
    """What was said in one mode does not cover the next."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await ready(pilot, app)
        app.notify("said in Dataset")
        await until(pilot, lambda: toasts(app) == ["said in Dataset"])
        await pilot.press("3")
        await until(pilot, lambda: app.current_mode == "review" and toasts(app) == [])
