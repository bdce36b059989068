"""The user's $EDITOR on a caption: what it saves, and that the app comes back whatever it does."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.problems import UserError
from core.workspace import Workspace
from tests.tui.kit import app_on, make_dataset, ready, until
from tui.editor import edit_text


class Away:
    """What Textual's `suspend` is: it does not come back when something is raised out of it."""

    is_back = False

    @contextmanager
    def suspend(self) -> Iterator[None]:
        yield
        self.is_back = True


def editor(folder: Path, script: str) -> str:
    path = folder / "my editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return shlex.quote(str(path))


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('echo new > "$1"; exit 1', "ended with status 1; nothing was changed"),
        ("kill -9 $$", "did not work"),
        ("printf 'caf\\351' > \"$1\"", "another encoding than UTF-8"),
        (None, "No such file"),
    ],
    ids=["vim's :cq", "killed", "latin-1", "missing"],
)
async def test_after_an_editor_that_fails_the_app_is_back_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, told: str
) -> None:
    """The terminal is the app's again, with a sentence, and the caption as it was."""
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor(tmp_path, script) if script else "/nonexistent/vi")
    app = Away()
    with pytest.raises(UserError, match=told):
        await edit_text(app, "old", "rinni_1.txt")  # type: ignore[arg-type]
    assert app.is_back


async def test_a_mark_that_the_editor_adds_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notepad and its kin write a byte order mark: the trainer would take it for the first letter of the first tag."""
    monkeypatch.setenv("VISUAL", editor(tmp_path, "printf '\\357\\273\\277rinni, 1girl\\n' > \"$1\""))
    app = Away()
    assert await edit_text(app, "rinni", "rinni_1.txt") == "rinni, 1girl"  # type: ignore[arg-type]


async def test_messages_lie_over_the_frame_and_not_over_the_rows(workspace: Workspace) -> None:
    """A message of one or two lines hides nothing of the list."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await ready(pilot, app)
        app.notify("caption copied")
        await until(pilot, lambda: bool(app.screen.query("Toast")))
        toast, title = app.screen.query("Toast").first(), app.screen.query_one("#where")
        await until(pilot, lambda: 0 < toast.region.bottom <= title.region.y)
