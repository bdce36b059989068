"""The prompts of a run, changed while it goes on: the trainer draws the new ones at its next sampling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.config.presets import draft, write_new
from core.demo.trainer.base import write_base
from core.problems import UserError
from core.runs import prompts
from core.runs.launch import train_spec
from core.runs.specs import recipe_of
from core.runs.store import create, observe
from core.settings import Settings
from core.workspace import Workspace
from tests.core.config_kit import picture


def test_prompts_that_would_be_read_anew_are_not_taken(workspace: Workspace) -> None:
    """A queued run copies its config when its turn comes: a change of its own would be lost without a word."""
    picture(workspace.train_data / "rinni" / "10_rinni" / "1.png", 64, 64)
    write_base(workspace.models / "demo-base.safetensors")
    write_new(draft(workspace, "rinni", "demo", "rinni"))
    settings = Settings(trainer="demo")
    spec, files = train_spec(workspace, "rinni", settings)
    run = create(workspace.runs, replace(spec, recipe=recipe_of("rinni", settings)), files)
    before = prompts.load(run)
    with pytest.raises(UserError, match="when its turn comes"):
        prompts.save(run, before + "mine\n", before)
    assert prompts.load(run) == before
    assert prompts.running([run], "rinni") is None


def test_a_waiting_run_takes_other_prompts_and_an_ended_one_does_not(workspace: Workspace) -> None:
    """Written into the run's own folder; somebody else's change is not overwritten."""
    picture(workspace.train_data / "rinni" / "10_rinni" / "1.png", 64, 64)
    write_base(workspace.models / "demo-base.safetensors")
    write_new(draft(workspace, "rinni", "demo", "rinni"))
    spec, files = train_spec(workspace, "rinni", Settings(trainer="demo"))
    run = create(workspace.runs, spec, files)
    before = prompts.load(run)
    assert before and prompts.draws(run) and prompts.running([run], "rinni") == run
    assert prompts.save(run, before + "another --d 1\n", before) == "used when it starts"
    assert prompts.load(run).endswith("another --d 1\n")
    with pytest.raises(UserError, match="another program"):
        prompts.save(run, "mine\n", before)
    (run.dir / "state.json").write_text('{"v": 1, "state": "finished"}', "utf-8")
    ended = observe(run.dir)
    with pytest.raises(UserError, match="is over"):
        prompts.save(ended, "x\n", prompts.load(ended))
