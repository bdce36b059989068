"""A sweep from the shell: the plan, the runs it becomes, and their comparison, on the demo trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.documents import open_config
from core.problems import UserError
from core.runs import inputs, store, sweep
from core.runs.model import RunState
from core.settings import Settings
from core.workspace import Workspace
from tests.core.cli_kit import Cli, until

SHORT = ("max_train_epochs=1", "dataset:num_repeats=1", "network_dim=4", "network_alpha=2")


def test_a_sweep_end_to_end(cli: Cli, demo: Workspace) -> None:
    """Two rates become two frozen runs with folders and names of their own; the config may change meanwhile."""
    cli("config", "set", "rinni", *SHORT, "output_dir=output/one")
    dry = cli("sweep", "rinni", "learning_rate=1e-4,5e-4", "--dry-run", "--json").json
    assert [item["values"] for item in dry["variants"]] == [{"learning_rate": 1e-4}, {"learning_rate": 5e-4}]
    assert dry["total_steps"] == sum(item["total_steps"] for item in dry["variants"]) > 0
    assert store.list_runs(demo) == []
    made = cli("sweep", "rinni", "learning_rate=1e-4,5e-4", "--json").json
    cli("config", "set", "rinni", "learning_rate=1")
    runs = [store.observe(demo.runs / item["run"]) for item in made["runs"]]
    until(lambda: all(store.observe(run.dir).status.ended is not None for run in runs))
    assert [store.observe(run.dir).state for run in runs] == [RunState.FINISHED] * 2
    frozen = [inputs.flatten(run.dir, (run.dir / "train.toml").read_bytes()) for run in runs]
    rates = [options["learning_rate"] for options in frozen]
    assert rates == [1e-4, 5e-4]
    assert sorted(path.name for path in demo.output.rglob("rinni-*.safetensors")) == [
        "rinni-lr1e-4.safetensors",
        "rinni-lr5e-4.safetensors",
    ]
    assert not (demo.root / "output/one").exists()
    shown = cli("sweep", "show", "--json").json
    assert shown["sweep"] == made["sweep"] and shown["best"] is None
    for row, label in zip(shown["runs"], ("lr1e-4", "lr5e-4"), strict=True):
        assert (row["label"], row["state"], row["step"]) == (label, "finished", row["total_steps"])
        assert row["lowest_loss"] > 0 and row["average_loss"] > 0 and row["final_loss"] > 0 and row["seconds"] > 0
    text = cli("sweep", "show", "rinni").out
    assert "lr5e-4" in text and "finished" in text
    assert cli("sweep", "list", "--json").json["sweeps"][0]["runs"] == [run.id for run in runs]
    assert {run["group"] for run in cli("runs", "--json").json["runs"]} == {made["sweep"]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("learning_rate",), "not KEY=VALUE"),
        (("lerning_rate=1,2",), "no option lerning_rate"),
        (("network_args=a,b",), "a list itself"),
        (("network_dim=16,many",), "network_dim"),
        (("network_dim=1,2", "network_dim=3"), "each once"),
        (("network_dim=1,2", "network_alpha=1", "--zip"), "one length"),
        ((f"seed={','.join(map(str, range(70)))}",), "70 runs"),
    ],
)
def test_what_is_no_sweep_is_said(cli: Cli, words: tuple[str, ...], told: str) -> None:
    """Before anything is made."""
    assert told in cli("sweep", "rinni", *words, "--json", code=1).err
    assert "There is no sweep" in cli("sweep", "show", code=1).err


def test_combinations_and_pairs(demo: Workspace) -> None:
    """The product, or with --zip value by value; labels are parts of file names."""
    config = open_config(demo, "rinni")
    axes = [
        sweep.axis(config, word) for word in ("network_dim=4,8", "optimizer_type=AdamW,Lion", "dataset:num_repeats=1,2")
    ]
    settings = Settings(trainer="demo")
    product = sweep.plan(demo, "rinni", axes, settings)
    assert len(product.variants) == 8
    assert product.variants[0].label == "dim4-AdamW-repeats1"
    assert product.variants[1].plan.repeats == 2 * product.variants[0].plan.repeats
    pairs = sweep.plan(demo, "rinni", axes, settings, zipped=True)
    assert [variant.label for variant in pairs.variants] == ["dim4-AdamW-repeats1", "dim8-Lion-repeats2"]
    assert open_config(demo, "rinni").text("train") == config.text("train")


def test_an_entry_of_a_list_is_swept(demo: Workspace) -> None:
    """network_args and optimizer_args: what else stands in them stays; a value may be a tuple."""
    config = open_config(demo, "rinni")
    config.set("train", "network_args", ["conv_dim=1", "conv_alpha=1"])
    config.set("train", "optimizer_args", ["weight_decay=0.1"])
    config.save()
    words = ("network_args.conv_dim=4,8", "optimizer_args.betas=(0.9,0.99),(0.9, 0.999)")
    planned = sweep.plan(demo, "rinni", [sweep.axis(config, word) for word in words], Settings(trainer="demo"))
    assert [variant.label for variant in planned.variants][:2] == [
        "conv_dim4-betas-0.9-0.99",
        "conv_dim4-betas-0.9-0.999",
    ]
    last = planned.variants[-1]
    assert last.config.get("train", "network_args") == ["conv_dim=8", "conv_alpha=1"]
    assert last.config.get("train", "optimizer_args") == ["weight_decay=0.1", "betas=(0.9, 0.999)"]
    assert dict(last.values) == {"network_args.conv_dim": "8", "optimizer_args.betas": "(0.9, 0.999)"}
    with pytest.raises(UserError, match="is a list itself"):
        sweep.axis(config, "network_args=a,b")


def test_all_of_a_sweep_or_nothing(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at the second run: the first one is taken back."""
    from core.hardware import GpuReading
    from core.runs.queue import Wish

    settings = Settings(trainer="demo")
    planned = sweep.plan(demo, "rinni", [sweep.axis(open_config(demo, "rinni"), "seed=1,2")], settings)
    real, made = store.create, []

    def create(folder: Path, *arguments: object) -> object:
        if made:
            raise UserError("The disk is full")
        made.append(folder)
        return real(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "create", create)
    with pytest.raises(UserError, match="disk is full"):
        sweep.start(demo, planned, settings, GpuReading(), Wish(held=True))
    until(lambda: all(run.state is RunState.STOPPED for run in store.list_runs(demo)))
    assert len(store.list_runs(demo)) == 1
    assert json.loads((store.list_runs(demo)[0].dir / "spec.json").read_text())["group"]["label"] == "seed1"


def test_on_a_cluster_a_sweep_is_one_array(demo: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its runs go to Slurm in one submission, and none into the queue of this machine."""
    from core.hardware import GpuReading
    from core.runs import queue, slurm
    from core.runs.queue import Wish

    handed: list[list[str]] = []
    monkeypatch.setattr(slurm, "submit", lambda runs: handed.append([run.id for run in runs]))
    settings = Settings(trainer="demo", launcher="slurm")
    planned = sweep.plan(demo, "rinni", [sweep.axis(open_config(demo, "rinni"), "seed=1,2")], settings)
    _, runs = sweep.start(demo, planned, settings, GpuReading(), Wish())
    assert handed == [[run.id for run in runs]]
    assert [run.spec.launcher for run in runs] == ["slurm"] * 2
    assert queue.waiting() == []
    with pytest.raises(UserError, match="queue of its own"):  # --hold would be dropped without a word
        sweep.start(demo, planned, settings, GpuReading(), Wish(held=True))
