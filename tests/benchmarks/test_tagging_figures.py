"""Figures of the tagger: its pipeline against the bare model, and what a run costs before its first picture."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
PICTURES = ("rgb_portrait.png", "rgb_landscape.png", "larger_1800x1200.jpg", "grainy_1536x1024.webp", "odd_701x997.jpg")
ROUNDS = 5

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.benchmark


def test_pipeline_against_the_bare_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Interleaved rounds of the tiny model: pictures a second, and wall time against the CPU time that was needed."""
    # A process of its own, as a tag run is: numpy's threads must be off before numpy is imported.
    done = subprocess.run(
        [sys.executable, __file__],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}")


def measure() -> str:
    """The figures of the pipeline in this process."""
    from core.settings import Settings
    from core.tagging.models import find_model
    from core.tagging.pipeline import tag_images
    from core.tagging.preprocess import load_image, prepare
    from core.tagging.session import open_session, physical_cores

    session = open_session(find_model(str(GOLDENS / "model" / "SmilingWolf_tiny-dyn"), None, Settings()), "cpu")
    paths = [GOLDENS / "images" / "good" / name for name in PICTURES] * 8
    pixels = [prepare(load_image(path), session.model.format, session.input_size) for path in paths]
    bare, piped, processor = [], [], []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for at in range(0, len(pixels), 8):
            session.run(pixels[at : at + 8])
        bare.append(time.perf_counter() - begun)
        begun, used = time.perf_counter(), time.process_time()
        count = sum(len(group) for group in tag_images(paths, [[session]], batch=8, threads=max(2, physical_cores())))
        piped.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
        assert count == len(paths)
    cost = 1000 * statistics.median(processor) / len(paths)
    return (
        f"tagger, tiny model, pictures of 0.7-2.2 Mpx: bare {len(paths) / statistics.median(bare):.0f}/s, "
        f"pipeline {len(paths) / statistics.median(piped):.0f}/s, {cost:.1f} ms of CPU a picture, "
        f"wall / CPU {statistics.median(piped) / statistics.median(processor):.2f} on {os.cpu_count()} cores, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )


def test_one_picture_from_start_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole run of one picture, as its supervisor starts it: seconds, CPU seconds and memory."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes((GOLDENS / "images" / "good" / "rgb_square.jpg").read_bytes())
    from core.tagging.command import parse_command

    words = [str(tmp_path / "images"), "--model", str(GOLDENS / "model" / "SmilingWolf_tiny-dyn")]
    (tmp_path / "spec.json").write_text(json.dumps({"tag": parse_command(words).run_spec()}), "utf-8")
    walls = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, "-P", "-m", "core.tagging.job", str(tmp_path)], check=True, stdout=subprocess.DEVNULL
        )
        walls.append(time.perf_counter() - begun)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / ROUNDS
    with capsys.disabled():
        print(
            f"\ntag run of one picture: {statistics.median(walls):.2f} s ({min(walls):.2f}-{max(walls):.2f}), "
            f"{used:.2f} s of CPU"
        )


if __name__ == "__main__":
    print(measure())
