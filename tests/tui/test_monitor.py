"""The Monitor screen on real runs: recorded ones laid into a workspace, and little trainers that really run."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from textual.pilot import Pilot

from core.runs import launch, proc, store
from core.runs.model import RunState
from core.settings import load
from core.workspace import Workspace
from tests.core.runs_kit import Runs, wait_for, write_safetensors
from tests.tui.kit import toasts
from tui.app import KohyaApp
from tui.graphics import Choice
from tui.screens.dialogs import Choose
from tui.screens.monitor import MonitorScreen
from tui.screens.monitor_checkpoints import CheckpointsDialog
from tui.screens.monitor_samples import SamplesScreen
from tui.widgets.footer import Footer
from tui.widgets.run_list import begun

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
LONG = "in about 12m: the next one is the last, at the end of the training"
SIZES = [(40, 12), (80, 24), (120, 40), (200, 60)]


def lay_run(workspace: Workspace, recording: str, name: str, state: RunState, reason: str | None = None) -> str:
    """A run folder as the recorded training would have left it, two hours ago."""
    source = RECORDINGS / recording
    started = time.time() - 7200
    run_id = store.new_id(workspace.runs, name, started)
    folder, output = workspace.runs / run_id, workspace.output / name / run_id
    folder.mkdir(parents=True)
    if (source / "artefacts").is_dir():
        shutil.copytree(source / "artefacts", folder, dirs_exist_ok=True)
    (folder / "output.log").write_bytes((source / "output.bin").read_bytes())
    (output / "sample").mkdir(parents=True)
    for epoch in (2, 4, 6):
        write_safetensors(output / f"my_lora-{epoch:06}.safetensors")
        for prompt in range(2):
            picture = output / "sample" / f"my_lora_e{epoch:06}_{prompt:02}_20261122102943_{prompt + 1}.png"
            Image.new("RGB", (64, 64), (40 * epoch, 80 * prompt, 90)).save(picture)
    spec = {
        "v": 1, "id": run_id, "kind": "train", "name": name, "created": started, "argv": ["python"],
        "cwd": str(workspace.root), "output_dir": str(output), "output_name": "my_lora", "config": name,
    }  # fmt: skip
    status = {"v": 1, "state": state.value, "started": started, "ended": started + 600, "reason": reason}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "state.json").write_text(json.dumps(status))
    return run_id


@pytest.fixture
def finished(workspace: Workspace) -> str:
    """A training of 300 steps that went well."""
    return lay_run(workspace, "sd15_long", "rinni", RunState.FINISHED)


@pytest.fixture
def live(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    """Little trainers in the workspace's own folder of runs; what still runs is ended afterwards."""
    monkeypatch.setenv("KOHYA_TUI_STOP_GRACE", "0.5")
    monkeypatch.setenv("KOHYA_TUI_LEAVE_GRACE", "0.5")
    kit = Runs(workspace.root)
    yield kit
    for run in store.list_runs(workspace):
        if run.live:
            proc.send(launch.group_of(run), 9)
            if run.supervised and run.status.supervisor_pid:
                proc.send([run.status.supervisor_pid], 9)


def app_for(workspace: Workspace | None) -> KohyaApp:
    return KohyaApp(workspace, load(workspace.root if workspace else None), Choice("blocks", "a test"))


async def until(pilot: Pilot[None], look: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait until `look` is true."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, screen_text(pilot)
        await pilot.pause(0.02)


def screen_text(pilot: Pilot[None]) -> str:
    """The screen as text."""
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


async def monitor(pilot: Pilot[None], run_id: str | None = None) -> MonitorScreen:
    """The Monitor screen, at a run when one is named and its log is there."""
    app = pilot.app
    assert isinstance(app, KohyaApp)
    if run_id is not None:
        await app.open_run(run_id)
        await until(pilot, lambda: isinstance(app.screen, MonitorScreen) and app.screen.news is not None)
    else:
        await app.action_mode("monitor")
    await pilot.pause()
    screen = app.screen
    assert isinstance(screen, MonitorScreen)
    return screen


@pytest.mark.parametrize("size", SIZES)
async def test_a_finished_run_is_shown_at_every_size(
    workspace: Workspace, finished: str, size: tuple[int, int]
) -> None:
    """State, steps, chart, gauges, checkpoints and log; in the smallest pane state, bar and the newest checkpoint."""
    async with app_for(workspace).run_test(size=size) as pilot:
        await monitor(pilot, finished)
        await until(pilot, lambda: ("GPU" if size[0] >= 120 else "my_lora") in screen_text(pilot))
        text = screen_text(pilot)
        assert "✓ rinni" in text
        assert "300/300" in text
        assert "100 %" in text
        if size[0] >= 80:
            assert "loss 1.209" in text
            assert "◆" in text
            assert "model saved." in text
        if size[0] >= 120:
            assert "host" in text
            assert "my_lora-000006.safetensors" in text
            assert "6 pictures" in text
            await until(pilot, lambda: "▀" in screen_text(pilot) or " e6" in screen_text(pilot))


async def test_the_list_shows_all_runs_and_enter_opens_one(workspace: Workspace, finished: str) -> None:
    """Esc goes from a run to the list, newest first with state, steps and reason; Enter opens, Esc goes back again."""
    reason = "The trainer does not know the option --foo."
    lay_run(workspace, "sd15_bad_argument", "typo", RunState.FAILED, reason)
    async with app_for(workspace).run_test(size=(140, 30)) as pilot:
        screen = await monitor(pilot, finished)
        await pilot.press("escape")
        await until(pilot, lambda: "300/300" in screen_text(pilot) and "typo" in screen_text(pilot))
        text = screen_text(pilot)
        assert "finished" in text
        assert reason[:20] in text
        await pilot.press("j", "k", "enter")
        await until(pilot, lambda: screen.news is not None)
        assert screen.query_one("#run").display
        await pilot.press("escape")
        assert screen.query_one("#runs").display


async def test_esc_leaves_the_cursor_on_the_run_that_was_seen_and_C_says_why_it_cannot(
    workspace: Workspace, finished: str
) -> None:
    """However it was opened; without a saved state the footer has no C, and C pressed all the same gives the reason."""
    reason = "The trainer does not know the option --foo."
    typo = lay_run(workspace, "sd15_bad_argument", "typo", RunState.FAILED, reason)
    app = app_for(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        for run_id in (finished, typo, finished):
            await app.action_mode("dataset")
            screen = await monitor(pilot, run_id)
            await pilot.press("escape")
            await until(pilot, lambda: "⏎ opens" in screen_text(pilot))
            under = screen.all_runs.under_cursor
            assert under is not None
            assert under.id == run_id
        await pilot.press("enter")
        await until(pilot, lambda: screen.news is not None)
        assert "C continue" not in screen.query_one(Footer).plain
        await pilot.press("C")
        await until(pilot, lambda: any("saved no state" in text for text in toasts(app)))


async def test_the_list_shows_the_last_step_of_a_run_that_ended_meanwhile(workspace: Workspace, live: Runs) -> None:
    """9/10 while it runs is not kept when it has finished with 10/10."""
    go = workspace.root / "go"
    bar = "steps:  90%|# | {}/10 [00:01<00:09,  1.00it/s, avr_loss=0.5]"
    code = f"print({bar.format(9)!r}, flush=True)\nuntil({str(go)!r})\nprint({bar.format(10)!r}, flush=True)"
    run = live.start(code, name="rinni")
    async with app_for(workspace).run_test(size=(120, 30)) as pilot:
        screen = await monitor(pilot, run.id)
        await pilot.press("escape")
        await until(pilot, lambda: "9/10" in screen_text(pilot))
        go.touch()
        wait_for(lambda: not store.observe(run.dir).live)
        screen._list_runs()
        await until(pilot, lambda: " 10/10" in screen_text(pilot))


@pytest.mark.parametrize("width", [40, 56, 64, 80, 120])
async def test_columns_of_the_list_go_whole_when_there_is_no_room(
    workspace: Workspace, finished: str, width: int
) -> None:
    """In a narrow pane steps, kind and duration go, before the name, the state and the age; nothing is cut."""
    async with app_for(workspace).run_test(size=(width, 12)) as pilot:
        screen = await monitor(pilot, finished)
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.all_runs.listing.progress) == 1)
        row = next(line for line in screen_text(pilot).splitlines() if "rinni  " in line)
        assert "finished" in row
        assert begun(screen.all_runs.runs[0], time.time(), width) in row
        assert ("300/300" in row) == (width >= 56)
        assert ("train" in row) == (width >= 64)
        assert ("10m" in row) == (width >= 80)


async def test_a_failed_run_says_why_first(workspace: Workspace) -> None:
    """The reason stands in the colour for bad below the run's name."""
    reason = "CUDA ran out of memory: lower train_batch_size or the resolution."
    run_id = lay_run(workspace, "sd15_oom", "rinni", RunState.FAILED, reason)
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, run_id)
        lines = screen_text(pilot).splitlines()
        assert "✗ rinni" in lines[2]
        assert reason in lines[4]


async def test_an_empty_workspace_says_how_to_start_a_run(workspace: Workspace) -> None:
    """No runs: the key and the command that start one."""
    async with app_for(workspace).run_test(size=(100, 24)) as pilot:
        await monitor(pilot)
        await until(pilot, lambda: "No runs yet" in screen_text(pilot))
        assert "kohya-tui train NAME" in screen_text(pilot)


async def test_without_a_workspace_it_says_the_same(workspace: Workspace) -> None:
    """Before the first workspace the screen opens empty, without an error."""
    async with app_for(None).run_test(size=(100, 24)) as pilot:
        await monitor(pilot)
        await until(pilot, lambda: "No runs yet" in screen_text(pilot))


async def test_a_run_folder_that_is_deleted_leads_back_to_the_list(workspace: Workspace, finished: str) -> None:
    """A sentence names the folder; the list is shown."""
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, finished)
        shutil.rmtree(workspace.runs / finished)
        await until(pilot, lambda: any("is gone" in str(note.message) for note in pilot.app._notifications))
        await until(pilot, lambda: bool(screen.query_one("#runs").display))


async def test_a_live_run_is_followed_and_its_end_is_seen(workspace: Workspace, live: Runs) -> None:
    """Lines and steps appear while the trainer runs; when it has ended the state changes by itself."""
    go = workspace.root / "go"
    code = f"""
say("epoch 1/2")
print("steps:  10%|# | 1/10 [00:01<00:09,  1.00it/s, avr_loss=0.5]", file=sys.stderr, flush=True)
until({str(go)!r})
say("the last words")
sys.exit(3)
"""
    run = live.start(code, name="rinni")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot)
        await until(pilot, lambda: screen.news is not None and "1/10" in screen_text(pilot))
        assert "▶ rinni" in screen_text(pilot)
        assert f"pid {run.status.pid} · detached" in screen_text(pilot)
        go.touch()
        await until(pilot, lambda: "✗ rinni" in screen_text(pilot))
        assert "the last words" in screen_text(pilot)


async def test_stopping_asks_first_and_says_what_it_costs(workspace: Workspace, live: Runs) -> None:
    """X opens a question with both ways; Esc stops nothing; "Now" ends the run, and the screen shows it as stopped."""
    run = live.start('say("epoch 1/2")\ntime.sleep(60)', name="rinni")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, run.id)
        await pilot.press("X")
        await until(pilot, lambda: "Stop rinni?" in screen_text(pilot))
        text = screen_text(pilot)
        assert "After the next checkpoint" in text
        assert "loses" in text
        await pilot.press("escape")
        assert store.observe(run.dir).live
        await pilot.press("X")
        await pilot.pause()
        await pilot.press("down", "enter")
        await until(pilot, lambda: "■ rinni" in screen_text(pilot) and "stopped" in screen_text(pilot))
        wait_for(lambda: not store.observe(run.dir).live)


async def test_a_run_opened_again_from_the_list_has_its_keys_and_stopping_there_says_its_costs(
    workspace: Workspace, live: Runs
) -> None:
    """In the list X offers what it offers in the run; back in the run the footer has X and S again."""
    run = live.start('say("epoch 1/2")\ntime.sleep(60)', name="rinni")
    app = app_for(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await monitor(pilot, run.id)
        footer = app.screen.query_one(Footer)
        await until(pilot, lambda: "X stop" in footer.plain)
        await pilot.press("escape")
        await until(pilot, lambda: "Runs" in screen_text(pilot) and "S samples" not in footer.plain)
        await pilot.press("X")
        await until(pilot, lambda: "Stop rinni?" in screen_text(pilot))
        assert "After the next checkpoint" in screen_text(pilot)
        assert "loses" in screen_text(pilot)
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await pilot.press("enter")
        await until(pilot, lambda: "X stop" in footer.plain)


async def test_all_samples_are_a_grid_of_prompts_and_epochs(workspace: Workspace, finished: str) -> None:
    """S opens the newest epoch of the first prompt; arrows move, Enter zooms, y takes the checkpoint, Esc goes back."""
    (workspace.runs / finished / "prompts.txt").write_text("# comment\nrinni, smile --d 1\nrinni, beach --d 2\n")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, finished)
        await pilot.press("S")
        await until(pilot, lambda: "rinni, smile --d 1" in screen_text(pilot))
        samples = pilot.app.screen
        assert isinstance(samples, SamplesScreen)
        assert samples.current is not None
        assert samples.current.epoch == 6
        await pilot.press("left", "down")
        assert (samples.current.epoch, samples.current.prompt_index) == (4, 1)
        await until(pilot, lambda: "rinni, beach --d 2" in screen_text(pilot))
        await pilot.press("enter", "right")
        assert samples.current.epoch == 6
        await pilot.press("escape")
        assert pilot.app.screen is samples
        assert "◆ my_lora-000006.safetensors" in screen_text(pilot)
        await pilot.press("y")
        assert pilot.app.clipboard.endswith("/my_lora-000006.safetensors")
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, MonitorScreen)


async def test_samples_that_are_drawn_meanwhile_join_the_grid(workspace: Workspace, live: Runs) -> None:
    """The grid is open while the next epoch is drawn: its column appears, and the cursor goes on to it."""
    folder = live.out / "sample"
    folder.mkdir(parents=True)
    run = live.start("time.sleep(60)", name="rinni")

    def draw(epoch: int) -> None:
        Image.new("RGB", (64, 64), (40 * epoch, 80, 90)).save(folder / f"lora_e{epoch:06}_00_20261122102943_1.png")

    draw(1)
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, run.id)
        await until(pilot, lambda: screen.news is not None and bool(screen.news.snapshot.samples))
        await pilot.press("S")
        samples = pilot.app.screen
        assert isinstance(samples, SamplesScreen)
        draw(2)
        await until(pilot, lambda: samples.current is not None and samples.current.epoch == 2)


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (120, 40)])
async def test_enter_lists_the_checkpoints_with_their_pictures_and_y_copies_the_path(
    workspace: Workspace, finished: str, size: tuple[int, int]
) -> None:
    """Newest first with epoch, step and size; the pictures of the epoch under the cursor and the whole path below."""
    output = workspace.output / "rinni" / finished
    write_safetensors(output / "my_lora.safetensors", {"ss_epoch": "10", "ss_steps": "300"})
    async with app_for(workspace).run_test(size=size) as pilot:
        await monitor(pilot, finished)
        await until(pilot, lambda: "my_lora.safetensors" in screen_text(pilot))
        await pilot.press("enter")
        dialog = pilot.app.screen
        assert isinstance(dialog, CheckpointsDialog)
        await until(pilot, lambda: "epoch 10" in screen_text(pilot))
        assert ("step 300" in screen_text(pilot)) == (size[0] >= 80)
        await pilot.press("j")
        await until(pilot, lambda: "epoch 6" in screen_text(pilot))
        path = output / "my_lora-000006.safetensors"
        assert dialog.path.plain.replace("\n", "") in str(path)
        if size[0] >= 80:
            assert dialog.path.plain.replace("\n", "") == str(path)
            assert "prompt 2" in screen_text(pilot)
            assert "y copies" in screen_text(pilot)
        await pilot.press("y")
        assert pilot.app.clipboard == str(path)
        assert "The path was copied." in [note.message for note in pilot.app._notifications]
        await pilot.press("enter")
        samples = pilot.app.screen
        assert isinstance(samples, SamplesScreen)
        await pilot.pause()
        assert samples.current is not None
        assert samples.current.epoch == 6
        await pilot.press("escape", "escape")
        assert isinstance(pilot.app.screen, MonitorScreen)


async def test_a_run_without_checkpoints_does_not_offer_them(workspace: Workspace) -> None:
    """Enter does nothing, and the footer does not name it."""
    run_id = lay_run(workspace, "sd15_oom", "rinni", RunState.FAILED, "no memory")
    shutil.rmtree(workspace.output / "rinni")
    async with app_for(workspace).run_test(size=(80, 24)) as pilot:
        screen = await monitor(pilot, run_id)
        assert "⏎ checkpoints" not in screen_text(pilot)
        await pilot.press("enter")
        assert pilot.app.screen is screen
        await until(pilot, lambda: "host" in screen_text(pilot))


async def test_a_run_is_continued_only_from_a_state_that_its_config_trains_on_from(workspace: Workspace) -> None:
    """The state of epoch 10 of 10 is an end; with more epochs in the config of today C is offered."""
    run_id = lay_run(workspace, "sd15_long", "rinni", RunState.FINISHED)
    state = workspace.output / "rinni" / run_id / "my_lora-state"
    state.mkdir()
    (state / "train_state.json").write_text('{"current_epoch": 10, "current_step": 300}')
    (state / "random_states_0.pkl").write_bytes(b"x")
    config = workspace.configs / "rinni"
    config.mkdir(parents=True)
    text = (workspace.runs / run_id / "train.toml").read_text()
    (config / "train.toml").write_text(text)
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, run_id)
        await pilot.pause()
        assert screen.news is not None
        assert screen.news.states == ()
        assert "C continue" not in screen_text(pilot)
        await pilot.press("C")
        assert pilot.app.screen is screen
        (config / "train.toml").write_text(text.replace("max_train_epochs = 10", "max_train_epochs = 12"))
        await until(pilot, lambda: "C continue" in screen_text(pilot))
        await pilot.press("C")
        await until(pilot, lambda: "Continue rinni from" in screen_text(pilot))


@pytest.mark.parametrize("width", [44, 80, 120])
async def test_what_stopping_costs_is_read_to_its_end(workspace: Workspace, width: int) -> None:
    """A long explanation goes on in the next row; the cursor passes over that."""
    options = [("wait", "After the next checkpoint", LONG), ("now", "Now", "loses 10m of training"), ("", "Not", "")]
    got: list[str | None] = []
    async with app_for(workspace).run_test(size=(width, 24)) as pilot:
        pilot.app.push_screen(Choose("Stop rinni?", options), got.append)
        await pilot.pause()
        text = screen_text(pilot)
        for word in LONG.split():
            assert word in text
        assert "…" not in text
        await pilot.press("down", "down", "up", "enter")
        await pilot.pause()
        assert got == ["now"]


async def test_keys_change_the_chart(workspace: Workspace, finished: str) -> None:
    """+ and - change the smoothing, L the scale, O lays another run over it."""
    lay_run(workspace, "sd15_validation", "mika", RunState.FINISHED)
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, finished)
        await pilot.press("plus")
        assert "smoothing 0.95" in screen_text(pilot)
        await pilot.press("minus", "minus")
        assert "smoothing 0.8" in screen_text(pilot)
        await pilot.press("L")
        assert "log" in screen_text(pilot).splitlines()[4]
        await until(pilot, lambda: len(screen.all_runs.runs) == 2)
        await pilot.press("O")
        await pilot.pause()
        await pilot.press("down", "enter")
        await until(pilot, lambda: screen.chart.overlay is not None)
        assert "mika" in screen_text(pilot).splitlines()[4]


async def test_a_key_that_can_do_nothing_says_why(workspace: Workspace, finished: str) -> None:
    """C where no state is, & outside of a sweep, X of an ended run, O in the list: a sentence, and none is offered."""
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, finished)
        footer = pilot.app.screen.query_one(Footer)
        await until(pilot, lambda: "checkpoints" in footer.plain)
        for key, said in (
            ("C", "rinni saved no state to go on from. ⏎ and R train one of its checkpoints further."),
            ("ampersand", "rinni is not one of a sweep."),
            ("X", "rinni has ended already."),
            ("Z", "rinni does not wait in the queue."),
        ):
            await pilot.press(key)
            await until(pilot, lambda said=said: any(text.startswith(said) for text in toasts(pilot.app)))
        assert not {"continue", "stop", "compare", "hold"} & set(footer.plain.split())
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen.all_runs.listing.progress)
        await pilot.press("O")
        await until(pilot, lambda: any("Open the run first" in text for text in toasts(pilot.app)))
        assert "continue" not in footer.plain


async def test_runs_of_one_config_say_what_differs(workspace: Workspace, finished: str) -> None:
    """The second run with another learning rate says so beside its name; the first says nothing."""
    source = RECORDINGS / "sd15_long" / "artefacts" / "train.toml"
    other = lay_run(workspace, "sd15_long", "rinni", RunState.FINISHED)
    text = source.read_text()
    (workspace.runs / finished / "train.toml").write_text(text)
    (workspace.runs / other / "train.toml").write_text(text.replace("learning_rate = 1e-4", "learning_rate = 5e-5"))
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, finished)
        await pilot.press("escape")
        await until(pilot, lambda: "rinni  learning_rate 5e-05" in screen_text(pilot))
        assert screen_text(pilot).count("learning_rate") == 1


async def test_the_log_is_searched_and_paused_by_keys(workspace: Workspace, finished: str) -> None:
    """`/` takes a text, Enter goes to the newest match, n to the next; p follows again."""
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, finished)
        await pilot.press("slash", *"epoch", "enter")
        await pilot.pause()
        assert not screen.log_view.following
        assert screen.log_view.matches[1] > 5
        first = screen.log_view.position[0]
        await pilot.press("N")
        assert screen.log_view.position[0] < first
        assert "paused" in screen_text(pilot)
        await pilot.press("p")
        assert screen.log_view.following
        assert "following" in screen_text(pilot)


async def test_the_frozen_config_is_compared_with_the_one_of_today(workspace: Workspace, finished: str) -> None:
    """d asks what to compare with; the first answer is what was changed in the config since the run began."""
    folder = workspace.configs / "rinni"
    shutil.copytree(RECORDINGS / "sd15_long" / "artefacts", folder, ignore=shutil.ignore_patterns("logs", "out"))
    text = (folder / "train.toml").read_text()
    (folder / "train.toml").write_text(text + "\nmax_grad_norm = 0.5\n")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, finished)
        await pilot.press("d")
        await until(pilot, lambda: "Against today's config" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "max_grad_norm" in screen_text(pilot) and "0.5" in screen_text(pilot))
        await pilot.press("escape")
        assert isinstance(pilot.app.screen, MonitorScreen)


async def test_the_frozen_config_is_shown_and_compared_with_that_of_another_run(
    workspace: Workspace, finished: str
) -> None:
    """d lists the config as it is and the other trainings; their difference is a diff of the frozen files."""
    other = lay_run(workspace, "sd15_long", "mika", RunState.FINISHED)
    shutil.copy(RECORDINGS / "sd15_long" / "artefacts" / "train.toml", workspace.runs / finished / "train.toml")
    text = (workspace.runs / finished / "train.toml").read_text()
    (workspace.runs / other / "train.toml").write_text(text.replace("learning_rate = 1e-4", "learning_rate = 5e-5"))
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, finished)
        await until(pilot, lambda: len(screen.all_runs.runs) == 2)
        await pilot.press("d")
        await until(pilot, lambda: "Against mika" in screen_text(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "pretrained_model_name_or_path" in screen_text(pilot))
        await pilot.press("escape", "d")
        await until(pilot, lambda: "Against mika" in screen_text(pilot))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "learning_rate" in screen_text(pilot) and "5e-5" in screen_text(pilot))


async def test_a_tag_run_shows_images_instead_of_a_chart(workspace: Workspace) -> None:
    """Done and total, what failed and why, and the images that were tagged last."""
    run_id = lay_run(workspace, "sd15_bad_argument", "tag", RunState.FINISHED)
    folder = workspace.runs / run_id
    spec = json.loads((folder / "spec.json").read_text()) | {"kind": "tag", "output_dir": None, "tag": {}}
    (folder / "spec.json").write_text(json.dumps(spec))
    lines = [
        {"v": 1, "total": 3, "model": "demo", "started": time.time()},
        {"path": "/x/a.png", "tags": 12, "seconds": 1},
        {"path": "/x/b.png", "error": "/x/b.png is not an image", "seconds": 2},
        {"path": "/x/c.png", "tags": 9, "seconds": 3},
        {"done": True, "tagged": 2, "failed": 1, "images_per_second": 1.0},
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, run_id)
        await until(pilot, lambda: "a.png" in screen_text(pilot))
        text = screen_text(pilot)
        assert "images 3/3" in text
        assert "1 failed" in text
        assert "b.png  is not an image" in text
        assert not screen.chart.display


async def test_a_hidden_monitor_reads_nothing(workspace: Workspace, finished: str) -> None:
    """On another screen no poll goes on while a clock of the same pace beats three times."""
    app = app_for(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await monitor(pilot, finished)
        await app.action_mode("dataset")
        await until(pilot, lambda: not screen._lists)
        beats = screen._beats
        clock: list[float] = []
        app.set_interval(1.0, lambda: clock.append(time.monotonic()))
        await until(pilot, lambda: len(clock) == 3)
        assert screen._beats - beats <= 1  # one that was under way


async def test_a_killed_supervisor_is_told_and_the_run_can_still_be_stopped(workspace: Workspace, live: Runs) -> None:
    """The training goes on as "unsupervised"; X then offers only "Now", and that ends it."""
    run = live.start('say("epoch 1/2")\ntime.sleep(60)', name="rinni")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, run.id)
        supervisor = store.observe(run.dir).status.supervisor_pid
        assert supervisor is not None
        proc.send([supervisor], 9)
        await until(pilot, lambda: "unsupervised" in screen_text(pilot))
        await pilot.press("X")
        await until(pilot, lambda: "Stop rinni?" in screen_text(pilot))
        assert "After the next checkpoint" not in screen_text(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "■ rinni" in screen_text(pilot), 25)


async def test_a_run_that_stops_after_its_checkpoint_says_so_and_can_go_on_after_all(
    workspace: Workspace, live: Runs
) -> None:
    """The first answer of the stop dialog shows at the right of the head; X again takes it back."""
    run = live.start('say("epoch 1/2")\ntime.sleep(60)', name="rinni")
    async with app_for(workspace).run_test(size=(120, 40)) as pilot:
        await monitor(pilot, run.id)
        await pilot.press("X")
        await until(pilot, lambda: "Stop rinni?" in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "stops after the next checkpoint" in screen_text(pilot).splitlines()[2])
        await pilot.press("X")
        await until(pilot, lambda: "Go on after all" in screen_text(pilot))
        await pilot.press("down", "enter")
        await until(pilot, lambda: "stops after" not in screen_text(pilot).splitlines()[2])
        assert store.observe(run.dir).live
