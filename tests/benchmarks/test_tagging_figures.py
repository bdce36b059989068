"""Figures of the tagger: its pipeline against the bare model, and what a run costs before its first picture."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel
    from core.workspace import Workspace

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
    from core.tagging.engines import physical_cores
    from core.tagging.models import find_model
    from core.tagging.pipeline import tag_images
    from core.tagging.preprocess import load_image, prepare
    from core.tagging.session import open_session

    session = open_session(find_model(str(GOLDENS / "model" / "SmilingWolf_tiny-dyn"), None, Settings()), "cpu")
    paths = [GOLDENS / "images" / "good" / name for name in PICTURES] * 8
    pixels = [prepare(load_image(path), session.model.format, session.input_size) for path in paths]
    bare, piped, processor = [], [], []
    for _ in range(ROUNDS):
        session.resume()  # a pass that has ended leaves it broken off
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


LABELS = 10_861
"""Outputs of the WD v3 models; about 200 of them lie above the floor of stored scores in a picture."""


def scored_dataset(workspace: Workspace, name: str, images: int) -> TaggerModel:
    """A dataset whose images (a few bytes each) have stored scores and captions made from them at 0.35.

    The model is a label file and a file that is never loaded.
    """
    import numpy as np

    from core.settings import Settings
    from core.tagging.captioning import Captioner
    from core.tagging.labels import read_labels
    from core.tagging.models import find_model
    from core.tagging.options import CaptionOptions
    from core.tagging.score_store import ScoreStore
    from core.tagging.scores import content_of, model_key, scores_folder, stamp_of

    rng = np.random.default_rng(1)  # the same labels each time
    folder = workspace.root / "model"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"never loaded")
    words = ["".join(rng.choice(list("aeioklmnrst"), 5)) for _ in range(900)]
    rows = [f"{i},{word},9,1" for i, word in enumerate(("general", "sensitive", "questionable", "explicit"))]
    rows += [f"{i},{'_'.join(rng.choice(words, 1 + i % 3))}_{i},{0 if i < 8110 else 4},1" for i in range(4, LABELS)]
    (folder / "selected_tags.csv").write_text("tag_id,name,category,count\n" + "\n".join(rows) + "\n", "utf-8")
    model = find_model(str(folder), workspace, Settings())
    labels = read_labels(folder / "selected_tags.csv", LABELS)
    captioner = Captioner(labels, CaptionOptions())
    subset = workspace.train_data / name / f"10_{name}"
    subset.mkdir(parents=True)
    store = ScoreStore(scores_folder(workspace), model_key(model), model.name, labels)
    rarity = np.arange(1, LABELS - 3) ** 0.8  # few tags are on many pictures, most on few
    for number in range(images):
        picture, data = subset / f"{number:05}.png", b"%d" % number
        picture.write_bytes(data)
        row = np.zeros(LABELS, np.float32)
        found = 4 + np.argpartition(rng.exponential(size=LABELS - 4) * rarity, 196)[:196]
        row[found] = 0.01 + 0.98 * rng.beta(0.35, 1.2, 196)
        row[:4] = rng.dirichlet([1] * 4)
        store.add(content_of([data]), row)
        store.place(picture, stamp_of(picture), content_of([data]))
        (subset / f"{number:05}.txt").write_text(captioner.caption(row) + "\n", "utf-8")
    store.close()
    return model


def test_other_thresholds_without_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10,000 images re-tagged from stored scores: looked at, in the run without and with writing, and the slider."""
    from core.tagging.options import CaptionOptions, TagRequest
    from core.tagging.preview import open_preview
    from core.workspace import create

    workspace = create(tmp_path / "work")
    models = {name: scored_dataset(workspace, name, count) for name, count in (("large", 10_000), ("small", 1_000))}
    lines = []
    for name, model in models.items():
        request = TagRequest(name, model=str(workspace.root / "model"))
        begun, used = time.perf_counter(), time.process_time()
        kept = open_preview(workspace, request, [model])
        assert kept is not None and kept.preview(request).captions == 0
        wall, processor = time.perf_counter() - begun, time.process_time() - used
        steps = []
        for at in range(20):
            asked = replace(request, caption=CaptionOptions(thresh=0.34 - at / 100))
            before = time.process_time()
            told = kept.preview(asked)
            steps.append(time.process_time() - before)
        lines.append(
            f"preview of {name}, {told.images:,} images: first {wall:.2f} s ({processor:.2f} s of CPU), each further "
            f"threshold {1000 * statistics.median(steps):.1f} ms of CPU ({1000 * max(steps):.1f} at most)"
        )
    walls: dict[str, list[float]] = {"bare": [], "dry": [], "write": []}
    processor: dict[str, list[float]] = {"bare": [], "dry": [], "write": []}
    texts = sorted((workspace.train_data / "large" / "10_large").glob("*.txt"))
    for at in range(3):
        thresh = 0.30 - at / 20
        begun, used = time.perf_counter(), time.process_time()
        for path in texts:  # what any program would have to do: read each caption, write another file, put it in place
            data = path.read_bytes()
            path.with_name(".new").write_bytes(data)
            path.with_name(".new").replace(path)
        walls["bare"].append(time.perf_counter() - begun)
        processor["bare"].append(time.process_time() - used)
        for word in ("dry", "write"):
            request = TagRequest(
                "large",
                CaptionOptions(thresh=thresh),
                model=str(workspace.root / "model"),
                from_scores=True,
                dry_run=word == "dry",
            )
            folder = tmp_path / f"{word}{at}"
            folder.mkdir()
            (folder / "spec.json").write_text(json.dumps({"tag": request.run_spec(workspace)}), "utf-8")
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begun = time.perf_counter()
            command = [sys.executable, "-P", "-m", "core.tagging.job", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=workspace.root)
            walls[word].append(time.perf_counter() - begun)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            processor[word].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    bare, dry, write = (statistics.median(found) for found in walls.values())
    bare_cpu, dry_cpu, write_cpu = (statistics.median(found) for found in processor.values())
    lines.append(
        f"10,000 images from stored scores, whole run: {dry:.2f} s without writing ({dry_cpu:.2f} s of CPU), "
        f"{write:.2f} s with ({write_cpu:.2f}); bare replacing of the files {bare:.2f} s ({bare_cpu:.2f}): "
        f"{write / bare:.1f} x"
    )
    with capsys.disabled():
        print("\n" + "\n".join(lines))


if __name__ == "__main__":
    print(measure())
