"""The Config screen: form and raw text over the same files, the plan and the problems, saving and starting."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, Static

from core.config.presets import draft, write_new
from core.runs.store import list_runs
from core.workspace import Workspace
from tests.core.cli_kit import end_runs
from tests.core.config_kit import SHAPES, checkpoint
from tests.tui.config_kit import SETTINGS, checked, on_disk, opened, ready_workspace, rows_of, text_of, worst
from tests.tui.kit import app_on, make_dataset, toasts, until
from tui.app import KohyaApp
from tui.screens.config import ConfigScreen
from tui.screens.config_dialogs import Find, Text
from tui.screens.config_diff import Diff
from tui.screens.config_editor import Raw
from tui.screens.config_form import ranked, search
from tui.screens.config_new import NewConfig
from tui.screens.config_start import Start
from tui.screens.dialogs import Ask, Choose, ProblemList
from tui.widgets.item_list import ItemList
from tui.widgets.line import Line

__all__ = ["ready_workspace"]


async def test_a_typed_value_is_saved_and_undone(ready_workspace: Workspace) -> None:
    """Enter edits, `s` writes with the comments kept, `u` brings the old file back and the form follows."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        before = (ready_workspace.configs / "rinni" / "train.toml").read_bytes()
        screen.form.go_to("learning_rate")
        await pilot.press("enter", *["backspace"] * 8, *"2e-4", "enter")
        assert screen.config is not None and screen.config.get("train", "learning_rate") == 2e-4
        assert "not saved" in screen.query_one("#config-head", Line).plain
        assert on_disk(ready_workspace).get("train", "learning_rate") == 1e-4
        await pilot.press("s")
        await until(pilot, lambda: on_disk(ready_workspace).get("train", "learning_rate") == 2e-4)
        await checked(pilot, screen)
        after = (ready_workspace.configs / "rinni" / "train.toml").read_text("utf-8")
        assert after.count("#") == before.decode().count("#")
        assert "not saved" not in screen.query_one("#config-head", Line).plain
        await pilot.press("u")
        await until(pilot, lambda: (ready_workspace.configs / "rinni" / "train.toml").read_bytes() == before)
        await until(pilot, lambda: screen.config is not None and screen.config.get("train", "learning_rate") == 1e-4)


async def test_u_takes_back_what_is_not_saved_first(ready_workspace: Workspace) -> None:
    """Two unsaved changes go one by one, and come back with `U`; no file on disk moves."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        config = screen.config
        assert config is not None
        before = config.text("dataset")
        screen.form.go_to("flip_aug")
        await pilot.press("enter")
        screen.form.go_to("keep_tokens")
        await pilot.press("x")
        assert config.get("dataset", "flip_aug") is True and config.get("dataset", "keep_tokens") is None
        await pilot.press("u")
        assert config.get("dataset", "keep_tokens") == 1 and screen.form.key == "keep_tokens"
        await pilot.press("u")
        assert config.text("dataset") == before
        await pilot.press("U", "U")
        assert config.get("dataset", "keep_tokens") is None and config.get("dataset", "flip_aug") is True
        await pilot.pause()
        assert on_disk(ready_workspace).text("dataset") == before


async def test_a_wrong_value_is_refused_with_words(ready_workspace: Workspace) -> None:
    """Text in a number's field says what is wanted and changes nothing."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("network_dim")
        await pilot.press("enter", *"x", "enter")
        await until(pilot, lambda: toasts(app))
        assert screen.config is not None and screen.config.get("train", "network_dim") == 32


async def test_choices_step_and_a_list_opens(ready_workspace: Workspace) -> None:
    """Right goes to the next choice; Enter shows them all with the one in force under the cursor."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.finding.reveal("mixed_precision")
        config = screen.config
        assert config is not None
        await pilot.press("right")
        first = config.get("train", "mixed_precision")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("j", "enter")
        await until(pilot, lambda: app.screen is screen)
        assert config.get("train", "mixed_precision") not in {None, first}


async def test_problems_stand_beside_their_fields(ready_workspace: Workspace) -> None:
    """A missing base model: mark and words in its line, at the panel, in the footer; `n` goes there, `!` lists it."""
    (ready_workspace.models / "demo-base.safetensors").unlink()
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        field = next(each for each in screen.form.fields if each.key == "pretrained_model_name_or_path")
        assert field.problem is not None and field.problem[0] == "✗"
        assert "✗pretrained_model_name_or_path" in text_of(screen) and "KT206" in text_of(screen)
        screen.form.go_to("learning_rate")
        await pilot.press("n")
        assert screen.form.key in worst(screen)
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: isinstance(app.screen, ProblemList))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert screen.form.key == "pretrained_model_name_or_path"


async def test_f_mends_what_is_safe_to_mend(ready_workspace: Workspace) -> None:
    """A slip in an option's name is a stranger in the form; `F` renames it, `u` takes that back."""
    path = ready_workspace.configs / "rinni" / "train.toml"
    path.write_text(path.read_text("utf-8").replace("network_dim", "network_rank"), "utf-8")
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        assert worst(screen)["network_rank"].fixable
        screen.form.go_to("network_rank")
        await pilot.press("F")
        config = screen.config
        assert config is not None
        await until(pilot, lambda: config.get("train", "network_dim") == 32)
        assert config.get("train", "network_rank") is None
        await pilot.press("u")
        await until(pilot, lambda: config.get("train", "network_rank") == 32)


async def test_find_shows_any_option(ready_workspace: Workspace) -> None:
    """`/` narrows by name or word; Enter brings the option into the form and opens it: the next key is its value."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        assert "ip_noise_gamma" not in [field.key for field in screen.form.fields]
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, Find))
        await pilot.press(*"ip", "underscore", *"noise")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert screen.form.key == "ip_noise_gamma"
        assert screen.form.is_editing
        await pilot.press(*"0.1", "enter")
        assert screen.config is not None and screen.config.get("train", "ip_noise_gamma") == 0.1


async def test_what_is_found_is_opened_in_its_own_way(ready_workspace: Workspace) -> None:
    """A choice opens its list. A flag is gone to and left as it is: nothing is switched by looking for it."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        assert screen.config is not None
        before = screen.config.text("train")
        for name in ("mixed_precision", "gradient_checkpointing"):
            await pilot.press("slash")
            await until(pilot, lambda: isinstance(app.screen, Find))
            await pilot.press(*name, "enter")
            await until(pilot, lambda: not isinstance(app.screen, Find))
            if name == "mixed_precision":
                await until(pilot, lambda: isinstance(app.screen, Choose))
                await pilot.press("escape")
            await until(pilot, lambda name=name: app.screen is screen and screen.form.key == name)
        assert screen.config.text("train") == before and screen.form.rows.has_focus


async def test_the_finder_puts_what_is_set_first(ready_workspace: Workspace) -> None:
    """Options that the files set come first and are marked, then names, then explanations; a whole name beats all."""
    config = on_disk(ready_workspace)

    def found(typed: str) -> list[str]:
        return [name for name, _, _ in ranked(search(config), typed)]

    seeds = found("seed")
    assert config.is_set("seed") and seeds[0] == "seed" and "validation_seed" in seeds
    assert found("vae")[0] == "vae" and not config.is_set("vae")
    assert found("alpha")[:2] == ["network_alpha", "alpha_mask"]
    set_ones = [config.is_set(name) for name in found("")]
    assert set_ones == sorted(set_ones, reverse=True) and any(set_ones)
    names = [("noise" in name) for name in found("noise") if not config.is_set(name)]
    assert names == sorted(names, reverse=True) and not all(names)
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, Find))
        await pilot.press(*"alpha")
        await until(pilot, lambda: any("•network_alpha " in row for row in rows_of(app.screen)))
        assert any(" alpha_mask " in row and "•" not in row for row in rows_of(app.screen))


async def test_the_whole_name_of_the_field_is_in_sight(ready_workspace: Workspace) -> None:
    """The column is as wide as the longest label; where there is no room for that, the name stands above the help."""
    name = "network_train_text_encoder_only"
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        screen.finding.reveal(name)
        await until(pilot, lambda: f" {name}  no" in text_of(screen))
    async with app_on(ready_workspace, **SETTINGS).run_test(size=(104, 30)) as pilot:
        screen = await opened(pilot, pilot.app)
        screen.finding.reveal("scale_v_pred_loss_like_noise_pred")
        await until(pilot, lambda: "─ scale_v_pred_loss_like_noise_pred ─" in text_of(screen))
        screen.finding.reveal(name)
        await until(pilot, lambda: f"─ {name} ─" in text_of(screen))


async def test_in_80_columns_c_shows_plan_and_problems(ready_workspace: Workspace) -> None:
    """The panel stands in the form's place, Esc brings the form back."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        assert not screen.side.display
        await pilot.press("c")
        await until(pilot, lambda: screen.side.display and screen.side.has_focus)
        assert "steps in all" in text_of(screen) and not screen.form.rows.has_focus
        await pilot.press("escape")
        await until(pilot, lambda: screen.form.rows.has_focus and not screen.side.display)
        assert app.screen is screen


async def test_groups_lead_to_their_fields(ready_workspace: Workspace) -> None:
    """In a wide terminal tab goes to the groups; the form follows them and they follow the form."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(160, 40)) as pilot:
        screen = await opened(pilot, app)
        assert screen.groups.display
        await pilot.press("tab", "tab")
        await until(pilot, lambda: screen.groups.has_focus)
        await pilot.press("j", "j")
        await pilot.pause()
        assert screen.form.key == "network_module"
        await pilot.press("enter")
        await until(pilot, lambda: screen.form.rows.has_focus)
        screen.form.go_to("learning_rate")
        await pilot.pause()
        assert screen.groups.cursor == 3


async def test_form_and_raw_text_are_one(ready_workspace: Workspace) -> None:
    """What is typed into the raw text is in the form, and the other way round; prompts.txt is one of the views."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("network_dim")
        await pilot.press("enter", "backspace", "backspace", "8", "enter")
        await pilot.press("ctrl+t")
        await until(pilot, lambda: screen.view.text is not None)
        area = screen.query_one(Raw)
        assert "network_dim = 8" in area.text
        area.load_text(area.text.replace("network_dim = 8", "network_dim = 24"))
        await pilot.press("escape")
        await until(pilot, lambda: screen.view.text is None)
        assert screen.config is not None and screen.config.get("train", "network_dim") == 24
        await pilot.press("u")
        assert screen.config.get("train", "network_dim") == 8
        await pilot.press("w", "w", "ctrl+t")
        await until(pilot, lambda: screen.view.text is not None and "rinni" in screen.query_one(Raw).text)
        assert "prompts.txt" in screen.query_one("#config-head", Line).plain
        screen.query_one(Raw).move_cursor((0, 0))
        await pilot.press(*"x1")
        await pilot.press("escape")
        assert screen.config.prompts.startswith("x1") and screen.view.page == "prompts"


async def test_the_raw_text_opens_where_the_cursor_is_and_leads_back(ready_workspace: Workspace) -> None:
    """^t on a field of dataset.toml opens that file at its line; ^t on another line comes back to that field."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        for key, file, other, line in (
            ("resolution", "dataset", "batch_size", "batch_size = "),
            ("network_dim", "train", "learning_rate", "learning_rate = "),
        ):
            screen.form.go_to(key)
            await pilot.press("ctrl+t")
            await until(pilot, lambda file=file: screen.view.file == file and screen.query_one(Raw).has_focus)
            area = screen.query_one(Raw)
            await until(pilot, lambda area=area, key=key: key in area.document.get_line(area.cursor_location[0]))
            lines = area.text.split("\n")
            area.move_cursor((next(at for at, text in enumerate(lines) if text.startswith(line)), 3))
            await pilot.press("ctrl+t")
            await until(pilot, lambda: screen.view.file is None and screen.form.rows.has_focus)
            assert screen.form.key == other


async def test_text_that_is_not_toml_stays_in_the_editor(ready_workspace: Workspace) -> None:
    """Esc says the line and does not leave; nothing typed is lost, even by quitting."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: screen.view.text is not None and screen.query_one(Raw).has_focus)
        screen.query_one(Raw).move_cursor((0, 0))
        await pilot.press(*"oops", "enter")
        await until(pilot, lambda: "not saved" in screen.query_one("#config-head", Line).plain)
        await pilot.press("escape")
        await pilot.pause()
        assert screen.view.text is not None and "line 1 is not TOML yet" in "\n".join(toasts(app))
        assert screen.side.has_focus  # where keys are keys: the next one changes the mode, and back
        await pilot.press("1", "4")
        await until(pilot, lambda: app.screen is screen)
        await pilot.press("escape")
        await until(pilot, lambda: screen.query_one(Raw).has_focus)
        await until(pilot, lambda: not app.writer.pending)
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: app.screen.query(Raw))
        assert app.screen.query_one(Raw).text.startswith("oops\n")
        screen = app.screen
        assert isinstance(screen, ConfigScreen)
        await until(
            pilot, lambda: screen.query_one(Raw).cursor_location[0] == 0 and "line 1" in screen.view.about.plain
        )
        assert not on_disk(ready_workspace).text("train").startswith("oops")


async def test_unsaved_changes_outlive_the_app(ready_workspace: Workspace) -> None:
    """After a quit without saving the change is there again and says so; saving it removes the draft."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("network_dim")
        await pilot.press("enter", "backspace", "backspace", "9", "enter")
        await until(pilot, lambda: not app.writer.pending)
    assert on_disk(ready_workspace).get("train", "network_dim") == 32
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        assert screen.config is not None and screen.config.get("train", "network_dim") == 9
        assert "since last time" in screen.query_one("#config-head", Line).plain
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(
            pilot, lambda: isinstance(app.screen, Diff) and any("network_dim = 9" in r for r in rows_of(app.screen))
        )
        await pilot.press("w")
        await until(pilot, lambda: any(r.split()[:3] == ["network_dim", "9", "32"] for r in rows_of(app.screen)))
        await pilot.press("escape", "s")
        await until(pilot, lambda: on_disk(ready_workspace).get("train", "network_dim") == 9)
        await checked(pilot, screen)
        assert not list((ready_workspace.own / "drafts").glob("*.json"))


async def test_a_change_from_outside_is_taken_up(ready_workspace: Workspace) -> None:
    """Without unsaved changes the form just shows what is on disk now."""
    path = ready_workspace.configs / "rinni" / "train.toml"
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        path.write_text(path.read_text("utf-8").replace("network_dim = 32", "network_dim = 12"), "utf-8")
        await until(pilot, lambda: screen.config is not None and screen.config.get("train", "network_dim") == 12)


@pytest.mark.parametrize("choice", ["mine", "theirs"])
async def test_two_versions_are_both_kept(ready_workspace: Workspace, choice: str) -> None:
    """Unsaved here and changed there: the user chooses, and the other version is one step of undo or redo away."""
    path = ready_workspace.configs / "rinni" / "train.toml"
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("network_dim")
        await pilot.press("enter", "backspace", "backspace", "9", "enter")
        theirs = path.read_text("utf-8").replace("network_dim = 32", "network_dim = 12")
        path.write_text(theirs, "utf-8")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press(*([] if choice == "mine" else ["j"]), "enter")
        await until(pilot, lambda: app.screen is screen and not screen.files.is_asking)
        assert on_disk(ready_workspace).get("train", "network_dim") == (9 if choice == "mine" else 12)
        assert screen.config is not None and screen.config.get("train", "network_dim") == (
            9 if choice == "mine" else 12
        )
        await pilot.press("u" if choice == "mine" else "U")
        other = 12 if choice == "mine" else 9
        await until(pilot, lambda: on_disk(ready_workspace).get("train", "network_dim") == other)
        await until(pilot, lambda: screen.config is not None and screen.config.get("train", "network_dim") == other)


async def test_broken_toml_opens_as_text(ready_workspace: Workspace) -> None:
    """The raw editor opens with the sentence that names the line; a mended text brings the form back."""
    path = ready_workspace.configs / "rinni" / "train.toml"
    good = path.read_text("utf-8")
    path.write_text("[model\n" + good, "utf-8")
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: screen.view.text is not None)
        assert "line 1" in screen.view.about.plain
        screen.query_one(Raw).load_text(good)
        await pilot.press("escape")
        await until(pilot, lambda: screen.view.text is None)
        assert screen.form.key == "pretrained_model_name_or_path"


async def test_a_broken_file_that_was_kept_is_shown(ready_workspace: Workspace) -> None:
    """Mine, which is no TOML, over another's: it is saved, and stands there as text."""
    path = ready_workspace.configs / "rinni" / "train.toml"
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: screen.view.text is not None and screen.query_one(Raw).has_focus)
        screen.query_one(Raw).move_cursor((0, 0))
        await pilot.press(*"oops", "enter")
        path.write_text("# another\n" + path.read_text("utf-8"), "utf-8")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and path.read_text("utf-8").startswith("oops"))
        await until(pilot, lambda: (screen.view.text or "").startswith("oops"))
        await until(pilot, lambda: "not saved" not in screen.query_one("#config-head", Line).plain)


async def test_a_file_that_is_too_large_is_left_alone(ready_workspace: Workspace) -> None:
    """Its size is said; nothing can be typed over what is not shown."""
    path = ready_workspace.configs / "rinni" / "train.toml"
    path.write_text(path.read_text("utf-8") + "# large\n" * 700_000, "utf-8")
    before = path.stat()
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await until(pilot, lambda: screen.view.text is not None and screen.query_one(Raw).has_focus)
        await pilot.press("x", "escape", "s")
        await until(pilot, lambda: any("5.6 MB" in each for each in toasts(app)))
        assert screen.view.text == "" and screen.side.has_focus
        assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


async def test_the_editor_of_the_user_changes_the_form(
    ready_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`e` hands train.toml to $EDITOR; what it wrote is in the form, not yet saved."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/network_dim = 32/network_dim = 20/" "$1"\n', "utf-8")
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("VISUAL", str(editor))
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        monkeypatch.setattr(type(app), "suspend", _no_suspend)
        await pilot.press("e")
        await until(pilot, lambda: screen.config is not None and screen.config.get("train", "network_dim") == 20)
        assert "not saved" in screen.query_one("#config-head", Line).plain
        assert on_disk(ready_workspace).get("train", "network_dim") == 32


def _no_suspend(_: KohyaApp) -> Any:
    import contextlib

    return contextlib.nullcontext()


async def test_a_base_model_is_chosen_by_what_it_is(ready_workspace: Workspace) -> None:
    """The list names the architecture; a LoRA is not in it; another path can be typed."""
    checkpoint(ready_workspace.models / "sdxl.safetensors", SHAPES["SDXL"])
    checkpoint(ready_workspace.models / "lora.safetensors", SHAPES["LoRA"])
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("pretrained_model_name_or_path")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        shown = {label: why for _, label, why in app.screen._options}
        assert "SDXL" in shown["sdxl.safetensors"] and "lora.safetensors" not in shown
        await pilot.press("G", "k", "enter")
        await until(pilot, lambda: app.screen is screen)
        assert screen.config is not None
        assert screen.config.get("train", "pretrained_model_name_or_path") == "models/sdxl.safetensors"


async def test_without_a_base_model_the_way_to_one_is_said(ready_workspace: Workspace) -> None:
    """models/ is empty: the dialog names the command, and takes the path of a file that is there."""
    for path in ready_workspace.models.iterdir():
        path.unlink()
    other = checkpoint(ready_workspace.root / "elsewhere.safetensors", SHAPES["SD1.5"])
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("pretrained_model_name_or_path")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        assert "models base download" in app.screen._label
        answer = app.screen.query_one(Input)
        answer.value = "nowhere.safetensors"
        await pilot.press("enter")
        assert isinstance(app.screen, Ask)
        answer.value = str(other)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert screen.config is not None
        assert screen.config.get("train", "pretrained_model_name_or_path") == str(other)


async def test_r_trains_and_the_monitor_opens(ready_workspace: Workspace) -> None:
    """The dialog has the plan; Enter saves, starts a run of exactly these files and goes to it."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        screen.finding.reveal("max_train_epochs")
        await pilot.press("enter", "backspace", "backspace", "1", "enter")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Start))
        dialog = app.screen
        assert isinstance(dialog, Start)
        await until(pilot, lambda: dialog._settled)
        assert not dialog.errors and dialog._plan is not None and dialog._plan.epochs == 1
        await pilot.press("enter")
        await until(pilot, lambda: list_runs(ready_workspace), 20)
        await until(pilot, lambda: app.current_mode == "monitor", 20)
        run = list_runs(ready_workspace)[0]
        assert app.active_run == run.id
        assert "max_train_epochs = 1" in (run.dir / "train.toml").read_text("utf-8")
        assert on_disk(ready_workspace).get("train", "max_train_epochs") == 1
        await until(pilot, lambda: not list_runs(ready_workspace)[0].live, 60)


async def test_a_sweep_is_asked_for_and_queued(ready_workspace: Workspace) -> None:
    """Sweep … in the start dialog: the values, the plan, and two runs that wait for each other."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Start) and app.screen._settled)
        dialog = app.screen
        assert isinstance(dialog, Start)
        dialog.choice.move(next(index for index, way in enumerate(dialog._ways) if way.asks_values))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        app.screen.query_one(Input).value = "lerning_rate=1,2"
        await pilot.press("enter")
        await until(pilot, lambda: "no option lerning_rate" in str(app.screen.query_one("#wrong", Static).content))
        app.screen.query_one(Input).value = "learning_rate=1e-3,2e-3 max_train_epochs=1"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: len(list_runs(ready_workspace)) == 2, 20)
        await until(pilot, lambda: app.current_mode == "monitor", 20)
    labels = {run.spec.group["label"] for run in list_runs(ready_workspace) if run.spec.group}
    assert labels == {"lr1e-3-epochs1", "lr2e-3-epochs1"}
    end_runs(ready_workspace)


async def test_errors_refuse_the_start_and_lead_to_the_field(ready_workspace: Workspace) -> None:
    """What stands against it is listed with its remedy; Enter goes to the first one, and nothing runs."""
    (ready_workspace.models / "demo-base.safetensors").unlink()
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("learning_rate")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Start) and app.screen._settled)
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen)
        assert screen.form.key == "pretrained_model_name_or_path"
        assert not list_runs(ready_workspace)


async def test_without_sd_scripts_the_start_says_how_to_get_them(ready_workspace: Workspace) -> None:
    """The trainer is not set up: the dialog names `kohya-tui setup`."""
    app = app_on(ready_workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await opened(pilot, app)
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Start) and app.screen._settled)
        dialog = app.screen
        assert isinstance(dialog, Start)
        assert any("kohya-tui setup" in (problem.hint or "") for problem in dialog.errors)
        rows = dialog.query_one(ItemList).rows
        shown = "".join(text for index in range(len(rows)) for text, _ in rows.cells(index, 80))
        assert "kohya-tui setup" in shown


async def test_an_empty_workspace_leads_to_a_config(workspace: Workspace) -> None:
    """No config yet: the screen says the keys; ^n makes one of the only dataset, named after it."""
    make_dataset(workspace)
    app = app_on(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        assert "No config yet" in screen.view.empty.plain and "^n" in screen.view.empty.plain
        await pilot.press("ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, NewConfig))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: screen.config is not None and app.screen is screen)
        assert workspace.config_names() == ["rinni"]
        assert on_disk(workspace).get("dataset", "image_dir") == "train_data/rinni/10_rinni"


async def test_a_guide_is_imported(workspace: Workspace, tmp_path: Path) -> None:
    """`i` asks for the file (or its folder) and for its placeholders, and says what moved; again, for another name."""
    make_dataset(workspace)
    guide = next((Path(__file__).parents[1] / "data" / "guide").glob("*.md"))
    folder = tmp_path / "guide"
    folder.mkdir()
    (folder / "guide.md").write_bytes(guide.read_bytes())
    app = app_on(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        for number, path in ((1, guide), (2, folder)):
            await pilot.press("i")
            await until(pilot, lambda: isinstance(app.screen, Ask))
            app.screen.query_one(Input).value = str(path)
            await pilot.press("enter")
            while not isinstance(app.screen, Text):
                await until(pilot, lambda: isinstance(app.screen, Ask | Text))
                if isinstance(app.screen, Ask):
                    asked = app.screen
                    await pilot.press("enter")
                    await until(pilot, lambda asked=asked: app.screen is not asked)
            await pilot.press("escape")
            await until(pilot, lambda: screen.config is not None and app.screen is screen)
            assert len(workspace.config_names()) == number
        first, second = workspace.config_names()
        assert second == f"{first}-2"


async def test_unsaved_changes_wait_while_another_config_is_open(ready_workspace: Workspace) -> None:
    """Opening another config asks; kept changes are there again afterwards."""
    write_new(draft(ready_workspace, "second", "demo", "rinni"))
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("network_dim")
        await pilot.press("enter", "backspace", "backspace", "9", "enter")
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("G", "enter")
        await until(pilot, lambda: isinstance(app.screen, Choose) and "unsaved" in app.screen._title)
        await pilot.press("enter")
        await until(pilot, lambda: screen.config is not None and screen.config.name == "second")
        assert screen.config is not None and screen.config.get("train", "network_dim") == 32
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("g", "enter")
        await until(pilot, lambda: screen.config is not None and screen.config.name == "rinni")
        assert screen.config.get("train", "network_dim") == 9


async def test_text_that_is_mended_takes_its_draft_along(ready_workspace: Workspace) -> None:
    """Typing what is not TOML and removing it again leaves nothing behind: the next start does not bring it back."""
    drafts = ready_workspace.own / "drafts"
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: screen.view.text is not None)
        await pilot.press("x")
        await until(pilot, lambda: list(drafts.glob("*.json")))
        await pilot.press("backspace")
        await until(pilot, lambda: not list(drafts.glob("*.json")))


async def test_a_change_from_outside_reaches_the_raw_text(ready_workspace: Workspace) -> None:
    """The raw editor goes on with the new text; what it had before does not come back."""
    path = ready_workspace.configs / "rinni" / "train.toml"
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("ctrl+t")
        await until(pilot, lambda: screen.view.text is not None)
        path.write_text(path.read_text("utf-8").replace("network_dim = 32", "network_dim = 12"), "utf-8")
        await until(pilot, lambda: screen.view.text is not None and "network_dim = 12" in screen.view.text)
        await until(pilot, lambda: screen.query_one(Raw).has_focus)
        await pilot.press("escape")
        assert screen.config is not None and not screen.config.changed


async def test_dropped_changes_are_gone_though_nothing_else_was_opened(ready_workspace: Workspace) -> None:
    """Drop them, then Esc in the dialog that asks for a new config: form and raw text are those on disk."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("network_dim")
        await pilot.press("enter", "backspace", "backspace", "9", "enter", "ctrl+t")
        await until(pilot, lambda: screen.view.text is not None)
        await pilot.press("ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, Choose) and "unsaved" in app.screen._title)
        await pilot.press("G", "enter")
        await until(pilot, lambda: isinstance(app.screen, Ask | Choose) and "New" in app.screen._title)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen and screen.view.text is None)
        assert screen.config is not None and not screen.config.changed
        field = next(field for field in screen.form.fields if field.key == "network_dim")
        assert field.raw == "32"
