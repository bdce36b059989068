"""The tagger's pipeline against the bare model, with the demo's model on the demo's pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from core.workspace import Workspace
from tests.benchmarks.conftest import Note

BATCH = 8


def test_images_a_second(demo: Workspace, note: Note) -> None:
    """Decoding and preparing go on beside the model: what the pipeline makes of the two."""
    # A process of its own, as a tag run is: numpy's threads must be off before numpy is imported.
    done = subprocess.run(
        [sys.executable, __file__, str(demo.train_data)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    figures = json.loads(done.stdout)
    print(
        "\ntagger, demo model: {tagger_images_per_s:.0f} images a second; the model alone"
        " {tagger_bare_images_per_s:.0f}, decoding in one thread {decode_images_per_s:.0f}".format(**figures)
    )
    note(**figures)


def measure(folder: Path) -> dict[str, float]:
    """Images a second through the model alone, through one decoding thread, and through the pipeline."""
    import numpy as np

    from core.settings import Settings
    from core.tagging.models import find_model
    from core.tagging.pipeline import tag_images
    from core.tagging.preprocess import load_image, prepare
    from core.tagging.session import open_session

    session = open_session(find_model("demo", None, Settings()), "cpu")
    paths = sorted(path for path in folder.glob("*/*/*") if path.suffix != ".txt") * 3
    begun = time.perf_counter()
    pixels = np.stack([prepare(load_image(path), session.model.format, session.input_size) for path in paths])
    decoding = len(paths) / (time.perf_counter() - begun)
    session.run(pixels[:BATCH])
    begun = time.perf_counter()
    for at in range(0, len(paths), BATCH):
        session.run(pixels[at : at + BATCH])
    bare = len(paths) / (time.perf_counter() - begun)
    begun = time.perf_counter()
    count = sum(len(group) for group in tag_images(paths, [[session]], batch=BATCH))
    whole = count / (time.perf_counter() - begun)
    assert count == len(paths)
    return {
        "tagger_images_per_s": whole,
        "tagger_bare_images_per_s": bare,
        "decode_images_per_s": decoding,
        "tagger_ratio": whole / bare,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
