"""Bytes and CPU of one more picture in Review, in a pty whose picture has 60 x 30 cells or more."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.conftest import Note
from tests.benchmarks.terminal import Program

APP = [sys.executable, "-P", "-m", "tui"]
TARGETS = {"kitty": 60_000, "sixel": 120_000, "blocks": 75_000}


def like_a_photo(seed: int, size: tuple[int, int]) -> Image.Image:
    """Noise with the spectrum of photographs: large shapes and fine grain."""
    random = np.random.default_rng(seed)
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1
    bands = []
    for _ in range(3):
        band = np.fft.ifft2(np.fft.fft2(random.standard_normal((height, width))) / frequency**1.3).real
        bands.append((band - band.min()) / np.ptp(band) * 255)
    return Image.fromarray(np.stack(bands, -1).astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    folder = root / "train_data" / "photo" / "1_photo"
    folder.mkdir(parents=True)
    (root / ".kohya-tui").mkdir()
    for number in range(1, 9):
        like_a_photo(number, [(1024, 1024), (832, 1216)][number % 2]).save(folder / f"photo_{number}.png")
        (folder / f"photo_{number}.txt").write_text("1girl, solo, smile")
    return root


def cpu_ms(pid: int) -> float:
    """CPU of all threads, finer than the clock ticks of `Program.cpu`."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


@pytest.mark.parametrize("images", ["off", "blocks", "kitty", "sixel"])
def test_next_image(photos: Path, note: Note, images: str) -> None:
    """Targets: 50 ms of CPU with half blocks, and 60, 120, 75 kB for kitty, sixel, half blocks."""
    with Program([*APP, "--images", images], cwd=photos, size=(118, 34)) as program:
        program.wait(rb"photo_8")
        program.key("3")
        program.quiet(1.0)
        for _ in range(7):  # makes the thumbnails
            program.key("l")
            program.quiet(0.5)
        sizes, costs = [], []
        for _ in range(7):
            before, cpu = len(program.output), cpu_ms(program.pid)
            program.key("h")
            program.quiet(0.5)
            sizes.append(len(program.output) - before)
            costs.append(cpu_ms(program.pid) - cpu)
    cost = statistics.median(costs)
    print(
        f"\nnext image, {images}: median {statistics.median(sizes):,.0f} B, most {max(sizes):,} B"
        f" (target {TARGETS.get(images, 600):,} B), {cost:.0f} ms of CPU"
    )
    note(**{f"next_image_{images}_bytes": max(sizes), f"next_image_{images}_cpu_ms": cost})
