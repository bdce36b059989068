"""Pictures in a kitty, outside and inside tmux, from the first question to the last byte."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from core.workspace import Workspace
from tests.tui.kit import make_dataset
from tests.tui.scripted_kitty import PLACEHOLDER, Kitty

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a pty whose size and CPU are read as Linux has them")
APP = [sys.executable, "-P", "-m", "tui"]


@pytest.fixture
def noisy(workspace: Workspace) -> Workspace:
    """Three pictures that no encoder makes small."""
    folder = make_dataset(workspace, captions={f"noise_{number}.png": "noise" for number in range(1, 4)})
    for path in folder.glob("*.png"):
        bands = [Image.effect_noise((700, 900), 80 + 20 * band) for band in range(3)]
        Image.merge("RGB", bands).save(path)
    return workspace


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    conf = tmp_path / "tmux.conf"
    conf.write_text("set -g allow-passthrough on\nset -as terminal-features ',*:RGB'\nset -g status off\n")
    command = ["tmux", "-S", str(tmp_path / "socket"), "-f", str(conf)]
    if (
        b"passthrough"
        not in subprocess.run([*command, "start-server", ";", "show-options", "-g"], capture_output=True).stdout
        + subprocess.run([*command, "start-server", ";", "show-options", "-gw"], capture_output=True).stdout
    ):
        pytest.skip("this tmux has no allow-passthrough")
    yield command
    subprocess.run([*command, "kill-server"], capture_output=True)


def test_a_kitty_is_sent_one_small_picture_and_forgets_the_last(noisy: Workspace) -> None:
    """Review: each image is sent once, within 60 kB with all that changes beside it, and the one before is freed."""
    with Kitty([*APP], cwd=noisy.root) as kitty:
        kitty.wait(rb"noise_3")
        kitty.key("3")
        assert kitty._until(lambda: len(kitty.pictures()) == 2, 20), "the one of Dataset, and that of Review"
        kitty.quiet(1.0)
        before = len(kitty.output)
        kitty.key("l")
        assert kitty._until(lambda: len(kitty.output) - before > 20_000, 20)
        kitty.quiet(1.0)
        assert 2_000 < len(kitty.output) - before < 62_000
        pictures = kitty.pictures()
        assert len(pictures) == 2
        newest = pictures[max(pictures)]
        assert newest.mode == "P" and newest.width / newest.height == pytest.approx(700 / 900, rel=0.1)
        assert PLACEHOLDER in bytes(kitty.output[before:])


def test_a_kitty_around_tmux_is_sent_pictures_through_it(noisy: Workspace, tmux: list[str]) -> None:
    """With passthrough they reach the terminal around it; on Python 3.11 half blocks do."""
    with Kitty([*tmux, "new-session", *APP], cwd=noisy.root) as kitty:
        kitty.wait(rb"noise_3")
        kitty.key("3")
        if sys.version_info >= (3, 12):
            assert kitty._until(lambda: kitty.pictures() and PLACEHOLDER in kitty.output, 20)
        else:
            assert kitty._until(lambda: "▀".encode() in kitty.output, 20) and not kitty.pictures()
