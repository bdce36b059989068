"""`tag` and `models` as commands: results, interrupts, pasted lines, downloads."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.runs import store
from core.runs.model import LIVE_STATES, RunState
from core.tagging.results import read_results
from core.workspace import Workspace
from tests.core.cli_kit import COMMAND, Cli, captions, only_run, program, until
from tests.fake_hub import FakeHub

GUIDE = r"""
python sd-scripts/finetune/tag_images_by_wd14_tagger.py \
    {folder} \
    --repo_id "demo" \
    --batch_size 1 \
    --thresh 0.35 \
    --general_threshold 0.35 \
    --character_threshold 0.45 \
    --caption_extension .txt \
    --remove_underscore \
    --undesired_tags "realistic,photo,simple_background,white_background" \
    --character_tags_first \
    --caption_separator ", " \
    --onnx \
    --force_download
"""


def test_tagging_a_dataset(cli: Cli, demo: Workspace) -> None:
    """Every image gets a caption; the summary names model and provider; one undo takes it back."""
    answer = cli("tag", "mika", "--json").json
    assert set(answer) >= {"images", "tagged", "failed", "provider", "images_per_second", "model", "run"}
    assert (answer["images"], answer["tagged"], answer["failed"]) == (12, 12, [])
    assert (answer["provider"], answer["model"], answer["state"]) == ("cpu", "demo", "finished")
    assert answer["images_per_second"] > 0
    assert answer["run"] == only_run(demo).id
    assert len(captions(demo, "mika")) == 12
    cli("undo")
    assert captions(demo, "mika") == {}
    text = cli("tag", "mika", "--trigger", "mika", "--fresh").out
    assert text.startswith("12 of 12 images tagged by demo on cpu")
    again = cli("tag", "mika", "--trigger", "mika").out
    assert again == "12 of 12 images tagged by demo from stored scores\n"
    assert all(caption.startswith("mika, ") for caption in captions(demo, "mika").values())


def test_the_guides_line_pastes_behind_tag(demo: Workspace) -> None:
    """With python, script, backslashes, --onnx and all; the folder is the one the guide names."""
    line = GUIDE.format(folder="train_data/mika/10_mika").replace("\\\n", "\\ \n")
    program("tag", *shlex.split(line), cwd=demo.root)
    texts = captions(demo, "mika").values()
    assert len(texts) == 12
    assert not any("_background" in text or "white background" in text for text in texts)


def test_skip_leaves_captions_alone_and_says_so(cli: Cli, demo: Workspace) -> None:
    """Policy skip counts what it did not touch."""
    subset = demo.train_data / "mika" / "10_mika"
    (subset / "mika_01.txt").write_text("mine", encoding="utf-8")
    answer = cli("tag", "mika", "--policy", "skip")
    assert "1 left as they are" in answer.out
    assert (subset / "mika_01.txt").read_text() == "mine"


def test_an_unreadable_image_is_named_and_the_rest_is_tagged(cli: Cli, demo: Workspace) -> None:
    """A text file named .png and a cut-off picture: exit status 1, twelve captions."""
    subset = demo.train_data / "mika" / "10_mika"
    (subset / "fake.png").write_text("hello")
    whole = (subset / "mika_02.png").read_bytes()
    (subset / "cut.png").write_bytes(whole[: len(whole) // 2])
    answer = cli("tag", "mika", "--json", code=1).json
    assert answer["tagged"] == 12
    assert {Path(fault["path"]).name for fault in answer["failed"]} == {"fake.png", "cut.png"}
    assert all(fault["reason"] and not fault["reason"].startswith("/") for fault in answer["failed"])


def test_tag_works_outside_any_workspace(bare: Cli, demo: Workspace) -> None:
    """`tag DIR` in an empty folder; the run is kept in the user's state folder, and can be taken back from there."""
    folder = demo.train_data / "mika" / "10_mika"
    os.chdir(folder.parents[4])
    answer = bare("tag", folder, "--model", "demo")
    (run,) = store.list_runs(None)
    assert len(captions(demo, "mika")) == 12
    assert answer.err.splitlines()[-1] == f"To take it back: kohya-tui -C {run.dir} undo"
    assert "is not a workspace" in bare("undo", code=1).err
    assert " Tag " in bare("-C", run.dir, "history").out
    undone = bare("-C", run.dir, "undo", "--json").json
    assert len(undone["changed"]) == 12 and captions(demo, "mika") == {}


def test_demo_is_the_built_in_tagger(
    cli: Cli, demo: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that happens to be called demo does not hide it; `./demo` means the folder."""
    monkeypatch.chdir(tmp_path)
    assert Path("demo").is_dir()
    assert cli("tag", "mika", "--model", "demo", "--json").json["model"] == "demo"
    assert "is no tagger model" in cli("tag", "mika", "--model", "./demo", code=1).err


def test_detach_returns_at_once(cli: Cli, demo: Workspace) -> None:
    """The id is printed; the run ends by itself and `status` shows it."""
    answer = cli("tag", "mika", "--detach", "--json").json
    assert set(answer) == {"run", "state"}
    until(lambda: only_run(demo).status.state not in LIVE_STATES)
    (status,) = cli("status", answer["run"], "--json").json["runs"]
    assert (status["kind"], status["state"], status["step"], status["total_steps"]) == ("tag", "finished", 12, 12)


def test_tag_says_what_is_missing(cli: Cli) -> None:
    """No such dataset, no such model: a sentence, exit status 1, no run."""
    assert "nobody is neither a dataset nor a folder" in cli("tag", "nobody", code=1).err
    answer = cli("tag", "mika", "--model", "nonsense", code=1)
    assert "There is no tagger model nonsense" in answer.err and " models" in answer.err


def waiting(demo: Workspace, *words: str) -> subprocess.Popen[str]:
    """A slow `tag` command that waits for its run, of which an image at least is tagged."""
    child = subprocess.Popen(
        [*COMMAND, "tag", "mika", "--batch_size", "1", *words],
        cwd=demo.root,
        env={**os.environ, "KOHYA_TUI_DEMO_TAG_SECONDS": "0.5"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: store.list_runs(demo) and read_results(only_run(demo).dir).tagged)
    return child


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_stops_the_run_cleanly(demo: Workspace, number: signal.Signals, status: int) -> None:
    """What is tagged stays, the rest has no caption; the count is told; undo takes back what was written."""
    child = waiting(demo, "--json")
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == status
    document = json.loads(out)
    assert document["state"] == "stopped" and 0 < document["tagged"] < 12
    assert len(captions(demo, "mika")) == document["tagged"]
    assert err.startswith("stopping")
    assert only_run(demo).status.state is RunState.STOPPED
    program("undo", cwd=demo.root)
    assert captions(demo, "mika") == {}


def test_a_lost_terminal_does_not_stop_the_run(demo: Workspace) -> None:
    """SIGHUP ends the command with 129; the run goes on to the end."""
    child = waiting(demo)
    child.send_signal(signal.SIGHUP)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 129
    assert "goes on" in err
    until(lambda: only_run(demo).status.state is RunState.FINISHED)
    assert len(captions(demo, "mika")) == 12


def test_a_terminal_shows_a_bar_within_its_width(demo: Workspace) -> None:
    """Progress on a terminal's stderr: one line that is drawn anew and taken away; nothing of it on stdout."""
    master, slave = pty.openpty()
    environment = {**os.environ, "KOHYA_TUI_DEMO_TAG_SECONDS": "0.1", "COLUMNS": "60"}
    with subprocess.Popen(
        [*COMMAND, "tag", "mika"], cwd=demo.root, env=environment, stdin=slave, stdout=subprocess.PIPE, stderr=slave
    ) as child:
        os.close(slave)
        assert child.stdout is not None
        shown = b""
        while chunk := _read(master):
            shown += chunk
        out = child.stdout.read().decode()
    os.close(master)
    assert child.returncode == 0
    assert "\x1b" not in out and "\r" not in out
    drawn = [part for part in shown.decode().split("\r\x1b[K") if part]
    assert any("/12" in part and "█" in part for part in drawn)
    assert all(len(part) < 60 for part in drawn)
    assert shown.endswith(b"\r\x1b[K")


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # EIO: the last process has closed its side
        return b""


def test_models_lists_the_known_taggers(cli: Cli) -> None:
    """Thresholds, licences and which are on disk; `models` is `models list`."""
    models = cli("models", "list", "--json").json["models"]
    by_name = {model["name"]: model for model in models}
    assert by_name["demo"]["on_disk"] is True
    assert by_name["SmilingWolf/wd-swinv2-tagger-v3"]["on_disk"] is False
    assert all(model["licence"] for model in models)
    assert cli("models").out == cli("models", "list").out
    assert cli("models", "--json").json == {"models": models}


def test_models_base_lists_headers_and_the_usual_ones(cli: Cli) -> None:
    """The demo's base with what its header says, and how the usual ones are fetched."""
    (model,) = cli("models", "base", "--json").json["models"]
    assert set(model) >= {"path", "bytes", "architecture", "prediction", "precision"}
    assert model["path"] == "models/demo-base.safetensors"
    text = cli("models", "base").out
    assert "models/demo-base.safetensors" in text and "v1-5-pruned-emaonly-fp16.safetensors" in text


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with a tagger and a base checkpoint."""
    labels = b"tag_id,name,category,count\n1,1girl,0,5\n"
    files = {
        "org/tagger": {"model.onnx": b"\x08" * 300_000, "selected_tags.csv": labels},
        "org/base": {"base.safetensors": b"\x02\0\0\0\0\0\0\0{}"},
    }
    with FakeHub(files) as hub:
        for key, text in hub.env(tmp_path / "hf").items():
            if key.startswith(("HF_", "NO_PROXY")):
                monkeypatch.setenv(key, text)
        yield hub


def test_downloading_models(cli: Cli, demo: Workspace, hub: FakeHub) -> None:
    """A tagger lands in the hub's cache, a base checkpoint in models/; what does not exist is named."""
    paths = cli("models", "download", "org/tagger", "--json").json["paths"]
    assert [Path(path).name for path in paths] == ["model.onnx", "selected_tags.csv"]
    assert all(Path(path).exists() for path in paths)
    answer = cli("models", "base", "download", "org/base", "base.safetensors")
    assert answer.out == "models/base.safetensors\n"
    assert sorted(path.name for path in demo.models.iterdir()) == ["base.safetensors", "demo-base.safetensors"]
    assert "nothing.safetensors" in cli("models", "base", "download", "org/base", "nothing.safetensors", code=1).err
    assert "org/none" in cli("models", "download", "org/none", code=1).err
