"""The pages of the Config screen: folders, sample prompts, what is compared, arguments, and a run's prompts."""

from __future__ import annotations

import re

from textual.pilot import Pilot
from textual.widgets import Input

from core.config import prompts
from core.config.presets import draft, write_new
from core.runs.launch import train_spec
from core.runs.prompts import load
from core.runs.store import create
from core.workspace import Workspace
from tests.tui.config_kit import SETTINGS, checked, on_disk, opened, ready_workspace, rows_of, text_of
from tests.tui.kit import app_on, make_dataset, toasts, until
from tui.app import KohyaApp
from tui.screens.config import ConfigScreen
from tui.screens.config_dialogs import Find
from tui.screens.config_diff import Diff
from tui.screens.config_pairs import Pairs
from tui.screens.dialogs import Ask, Choose, Confirm
from tui.screens.run_prompts import RunPrompts
from tui.widgets.form import Form

__all__ = ["ready_workspace"]


def subsets(screen: ConfigScreen) -> list[dict[str, object]]:
    assert screen.config is not None
    rows: list[dict[str, object]] = screen.config.plain("dataset")["datasets"][0]["subsets"]
    return rows


async def answered(pilot: Pilot[None], app: KohyaApp, text: str) -> None:
    """Type into the dialog that is open, and take it."""
    await until(pilot, lambda: isinstance(app.screen, Ask))
    app.screen.query_one(Input).value = text
    await pilot.press("enter")


async def test_folders_are_added_copied_moved_removed_and_brought_back(ready_workspace: Workspace) -> None:
    """`w` shows the folders; each key does its work at once, `u` takes every step back, the file on disk waits."""
    make_dataset(ready_workspace, "mika", captions={"a.png": "mika"})
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        assert screen.config is not None
        before = screen.config.text("dataset")
        await pilot.press("w")
        await until(pilot, lambda: screen.view.folders.table.has_focus)
        assert screen.view.folders.node is not None and screen.view.folders.node.place == "datasets[0].subsets[0]"
        await until(pilot, lambda: "10_rinni" in text_of(screen) and "×10" in text_of(screen))
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and len(subsets(screen)) == 2)
        assert subsets(screen)[1] == {"image_dir": "train_data/mika/10_mika", "num_repeats": 10}
        assert screen.view.folders.node.place == "datasets[0].subsets[1]"
        await pilot.press("K")
        await until(pilot, lambda: subsets(screen)[0]["image_dir"] == "train_data/mika/10_mika")
        await pilot.press("quotation_mark")
        await until(pilot, lambda: len(subsets(screen)) == 3)
        await pilot.press("x")
        await until(pilot, lambda: len(subsets(screen)) == 2)
        await pilot.press("u", "u", "u", "u")
        await until(pilot, lambda: screen.config is not None and screen.config.text("dataset") == before)
        await pilot.press("U")
        await until(pilot, lambda: len(subsets(screen)) == 2)
        assert len(on_disk(ready_workspace).plain("dataset")["datasets"][0]["subsets"]) == 1


async def test_folders_in_a_list_become_blocks_after_a_question(ready_workspace: Workspace) -> None:
    """The form changes values in the list itself; to copy a folder it is rewritten, and one `u` brings it back."""
    path = ready_workspace.configs / "rinni" / "dataset.toml"
    path.write_text('datasets = [{resolution = 512, subsets = [{image_dir = "train_data/rinni/10_rinni"}]}] # mine\n')
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("w")
        await until(pilot, lambda: screen.view.folders.table.has_focus and "10_rinni" in text_of(screen))
        screen.view.folders.form.go_to("datasets[0].subsets[0].num_repeats")
        await pilot.press("enter", "enter", *"3", "enter")
        await until(pilot, lambda: subsets(screen)[0].get("num_repeats") == 3)
        assert screen.config is not None
        before = screen.config.text("dataset")
        assert before.startswith("datasets = [{resolution = 512,") and before.endswith("# mine\n")
        await pilot.press("escape", "quotation_mark")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is screen and len(subsets(screen)) == 2)
        assert screen.config.text("dataset").count("[[datasets.subsets]]") == 2
        assert "# mine" in screen.config.text("dataset")
        await pilot.press("u")
        await until(pilot, lambda: screen.config is not None and screen.config.text("dataset") == before)


async def test_a_folder_shows_what_it_inherits_and_takes_its_own(ready_workspace: Workspace) -> None:
    """Inherited values say from where; Enter sets one for this folder alone, `x` lets it inherit again."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("w", "enter")
        form = screen.view.folders.form
        await until(pilot, lambda: form.rows.has_focus)
        form.go_to("datasets[0].subsets[0].keep_tokens")
        await until(pilot, lambda: "from [general]" in text_of(screen))
        await pilot.press("enter", *"3", "enter")
        await until(pilot, lambda: subsets(screen)[0].get("keep_tokens") == 3)
        assert screen.config is not None and screen.config.plain("dataset")["general"]["keep_tokens"] == 1
        assert form.key == "datasets[0].subsets[0].keep_tokens"
        form.go_to("datasets[0].subsets[0].flip_aug")
        await pilot.press("enter")
        await until(pilot, lambda: subsets(screen)[0].get("flip_aug") is True)
        form.go_to("datasets[0].subsets[0].keep_tokens")
        await pilot.press("x")
        await until(pilot, lambda: "keep_tokens" not in subsets(screen)[0])
        await pilot.press("escape")
        await until(pilot, lambda: screen.view.folders.table.has_focus)
        await pilot.press("escape")
        await until(pilot, lambda: screen.view.page == "form" and screen.form.rows.has_focus)


async def test_prompts_are_rows(ready_workspace: Workspace) -> None:
    """A new one gets size and seed, a copy gets another seed, a wrong value is refused, comments stay."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        config = screen.config
        assert config is not None
        comment = config.prompts.splitlines()[0]
        screen.form.go_to("prompts")
        await pilot.press("enter")
        await until(pilot, lambda: screen.view.prompts.table.has_focus)
        await pilot.press("a")
        await answered(pilot, app, "rinni, running")
        await until(pilot, lambda: "rinni, running --w 512 --h 512 --d " in config.prompts)
        await until(pilot, lambda: "drawn: 512×512" in text_of(screen))
        await pilot.press("quotation_mark")
        await until(pilot, lambda: config.prompts.count("rinni, running") == 2)
        seeds = [prompts.parse(line).get("seed") for line in config.prompts.splitlines() if prompts.is_prompt(line)]
        assert len(set(seeds)) == len(seeds)
        await pilot.press("enter")
        form = screen.view.prompts.form
        await until(pilot, lambda: form.rows.has_focus)
        form.go_to(next(field.key for field in form.fields if field.label == "cfg"))
        await pilot.press("enter", *"x", "enter")
        await until(pilot, lambda: toasts(app))
        await pilot.press("right")
        await until(pilot, lambda: "--l 8" in config.prompts)
        assert config.prompts.splitlines()[0] == comment


async def test_only_what_is_set_or_everything_is_in_sight(ready_workspace: Workspace) -> None:
    """`o` goes through the usual options, only those that are set, and all; the marks tell what is not the default."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        usual = [field.key for field in screen.form.fields if field.editable]
        marked = {field.key for field in screen.form.fields if field.mark is not None}
        assert "network_dim" in marked and "clip_skip" not in marked
        await pilot.press("o")
        some = [field.key for field in screen.form.fields if field.editable]
        assert "clip_skip" in usual and "clip_skip" not in some and "network_dim" in some
        await pilot.press("o")
        assert len([field for field in screen.form.fields if field.editable]) > 150
        await pilot.press("o")
        assert [field.key for field in screen.form.fields if field.editable] == usual


async def test_what_is_typed_is_checked_while_it_is_typed(ready_workspace: Workspace) -> None:
    """The words stand below the form before Enter, and go when the value is right."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("network_dim")
        await pilot.press("enter", *"x")
        await until(pilot, lambda: "must be a whole number" in screen.view.about.plain)
        await pilot.press("backspace", *"8")
        await until(pilot, lambda: "must be" not in screen.view.about.plain)
        await pilot.press("escape")
        assert screen.config is not None and screen.config.get("train", "network_dim") == 32


async def test_options_that_exclude_each_other_say_so(ready_workspace: Workspace) -> None:
    """Beside the value, and below the form with the reason; before anything is wrong the partners are named."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        assert screen.config is not None
        screen.finding.reveal("color_aug")
        await until(pilot, lambda: "not with cache_latents" in screen.view.about.plain.lower())
        screen.finding.reveal("xformers")
        await pilot.press("enter")
        screen.finding.reveal("sdpa")
        screen.config.set("train", "sdpa", True)
        screen.changed()
        await until(pilot, lambda: "one attention is used" in screen.view.about.plain)


async def test_arguments_are_rows_with_the_keys_of_their_module(ready_workspace: Workspace) -> None:
    """The known keys of networks.lora are offered; what is typed lands in the list, an empty value leaves it."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot, app)
        config = screen.config
        assert config is not None
        screen.form.go_to("network_args")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Pairs))
        form = app.screen.query_one(Form)
        await until(pilot, lambda: form.rows.has_focus)
        form.go_to("conv_dim")
        await pilot.press("enter", *"4", "enter")
        await until(pilot, lambda: any("conv_dim" in row and "4" in row for row in rows_of(app.screen)))
        form.go_to("\0new")
        await pilot.press("enter", *"foo=1", "enter")
        await until(pilot, lambda: any("foo is not known" in row for row in rows_of(app.screen)))
        await pilot.press("escape")
        await until(pilot, lambda: config.get("train", "network_args") == ["conv_dim=4", "foo=1"])
        await pilot.press("u")
        await until(pilot, lambda: config.get("train", "network_args") is None)


async def test_an_optimizer_is_picked_or_typed(ready_workspace: Workspace) -> None:
    """The list has the trainer's names; any other can be typed."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(100, 40)) as pilot:
        screen = await opened(pilot, app)
        screen.form.go_to("optimizer_type")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await pilot.press("G", "enter")
        await answered(pilot, app, "pytorch_optimizer.CAME")
        config = screen.config
        await until(
            pilot, lambda: config is not None and config.get("train", "optimizer_type") == "pytorch_optimizer.CAME"
        )


async def test_d_compares_with_a_preset_and_another_config(ready_workspace: Workspace) -> None:
    """What differs stands in columns; a token is not shown."""
    other = write_new(draft(ready_workspace, "other", "demo", "rinni"))
    other.set("train", "network_dim", 64)
    other.set("train", "wandb_api_key", "secret!")
    other.save()
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await opened(pilot, app)
        for name, dim in (("other", 64), ("sd15-style", 64)):
            await pilot.press("d")
            await until(pilot, lambda: isinstance(app.screen, Choose))
            dialog = app.screen
            assert isinstance(dialog, Choose)
            await pilot.press(*["j"] * next(at for at, each in enumerate(dialog._options) if each[1] == name), "enter")
            await until(pilot, lambda: isinstance(app.screen, Diff))
            row = re.compile(rf"network_dim +32 +{dim}\b")
            await until(pilot, lambda row=row: any(row.search(line) for line in rows_of(app.screen)))
            assert not any("secret!" in row for row in rows_of(app.screen))
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is screen)


async def test_the_prompts_of_a_run_are_changed_while_it_waits(ready_workspace: Workspace) -> None:
    """`E` opens them, `s` writes them into the run's own folder and says when they count; those of the config stay."""
    spec, files = train_spec(ready_workspace, "rinni", app_on(ready_workspace, **SETTINGS).settings)
    run = create(ready_workspace.runs, spec, files)
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await opened(pilot, app)
        before = on_disk(ready_workspace).prompts
        await pilot.press("E")
        await until(pilot, lambda: isinstance(app.screen, RunPrompts))
        await pilot.press("a")
        await answered(pilot, app, "rinni, at sea")
        await until(pilot, lambda: isinstance(app.screen, RunPrompts) and "at sea" in app.screen._text)
        await pilot.press("u", "U", "s")
        await until(pilot, lambda: "rinni, at sea --w 512" in load(run))
        await until(pilot, lambda: any("used when it starts" in said for said in toasts(app)))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)
        assert on_disk(ready_workspace).prompts == before


async def test_a_wrong_file_opens_at_its_mistake(ready_workspace: Workspace) -> None:
    """The raw editor stands at line and column, what was expected stands below; the file is as it was."""
    path = ready_workspace.configs / "rinni" / "dataset.toml"
    text = path.read_text("utf-8").replace("resolution = 512", "resolution = oops")
    path.write_text(text, "utf-8")
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, ConfigScreen) and app.screen.view.text is not None)
        screen = app.screen
        assert isinstance(screen, ConfigScreen)
        row = next(at for at, line in enumerate(text.split("\n")) if "oops" in line)
        from tui.screens.config_editor import Raw

        await until(pilot, lambda: screen.query_one(Raw).cursor_location == (row, len("resolution = ")))
        assert f"line {row + 1}" in screen.view.about.plain and path.read_text("utf-8") == text


async def test_finding_an_option_comes_back_to_the_form(ready_workspace: Workspace) -> None:
    """`/` on the page of folders finds any option, too."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        await pilot.press("w", "slash")
        await until(pilot, lambda: isinstance(app.screen, Find))
        await pilot.press(*"network", "underscore", *"dim", "enter")
        await until(pilot, lambda: screen.view.page == "form" and screen.form.key == "network_dim")
        await checked(pilot, screen)


async def test_what_is_known_of_a_field_is_whole_after_the_prompts(ready_workspace: Workspace) -> None:
    """`w` through all pages and back on 80 by 24: the sentence is wrapped again, not cut at the window's edge."""
    app = app_on(ready_workspace, **SETTINGS)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await opened(pilot, app)
        assert screen.config is not None
        screen.view.form.go_to("max_token_length")
        await until(pilot, lambda: "max_token_length" in str(screen.view.about.border_title))
        before = screen.view.about.plain
        await pilot.press("w")
        await until(pilot, lambda: screen.view.page == "folders" and screen.view.folders.table.has_focus)
        await pilot.press("w")
        await until(pilot, lambda: screen.view.page == "prompts" and not screen.view.about.display)
        await pilot.press("w")
        await until(pilot, lambda: screen.view.page == "form" and screen.view.about.plain == before)
