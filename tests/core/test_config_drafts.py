"""Drafts: unsaved text of a config, kept beside it."""

from __future__ import annotations

import pytest

from core.config.documents import Config
from core.config.drafts import keep, read
from core.config.presets import draft, write_new
from core.workspace import Workspace


@pytest.fixture
def config(workspace: Workspace) -> Config:
    return write_new(draft(workspace, "rinni"))


def test_a_draft_is_kept_until_it_is_dropped(workspace: Workspace, config: Config) -> None:
    """What was typed comes back, TOML or not; with nothing to keep the file is gone."""
    assert read(workspace, config) is None
    keep(workspace, config, {"train": "oops = ", "prompts": "héllo\r\n"})
    draft = read(workspace, Config.load(config.folder))
    assert draft is not None and draft.is_current
    assert dict(draft.texts) == {"train": "oops = ", "prompts": "héllo\r\n"}
    keep(workspace, config, {})
    assert read(workspace, config) is None and not list((workspace.own / "drafts").iterdir())


def test_a_draft_knows_that_its_file_is_another_now(workspace: Workspace, config: Config) -> None:
    """Changed by another program since: both versions are there, and neither is taken for the other."""
    keep(workspace, config, {"train": config.text("train") + "\nseed = 1\n"})
    config.path("train").write_text("seed = 2\n", "utf-8")
    draft = read(workspace, Config.load(config.folder))
    assert draft is not None and not draft.is_current


def test_a_damaged_draft_is_none(workspace: Workspace, config: Config) -> None:
    """Half a file, or one of a later version, is passed over."""
    keep(workspace, config, {"train": "seed = 1"})
    path = workspace.own / "drafts" / "rinni.json"
    for data in (b"{", b"[]", b'{"v": 2, "files": {}}', b'{"v": 1, "files": {"train": 3}}'):
        path.write_bytes(data)
        assert read(workspace, config) is None
