"""Half precision: converted once, told what it changes, and never on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.problems import UserError
from core.settings import Settings
from core.tagging import fp16
from core.tagging.models import TaggerModel, find_model, fingerprint, score_key
from core.tagging.session import TaggerSession, open_session

MODELS = Path(__file__).parent.parent / "data" / "goldens" / "model"

pytest.importorskip("onnxruntime")


def tiny() -> TaggerModel:
    return find_model(str(MODELS / "SmilingWolf_tiny-dyn"), None, Settings())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fp16, "cache_dir", lambda: tmp_path)
    return tmp_path


def test_a_model_is_converted_once_and_kept_beside_its_sources_identity(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the size, float32 at both ends, nearly the same scores; the second time the file is there."""
    pytest.importorskip("onnx")
    model = tiny()
    assert model.onnx is not None
    half = fp16.converted(model)
    assert half.is_relative_to(cache) and half.name.startswith(score_key(model))
    assert half.stat().st_size < 0.6 * model.onnx.stat().st_size and fingerprint(half) != fingerprint(model.onnx)
    assert list(half.parent.iterdir()) == [half]
    monkeypatch.setattr(fp16.subprocess, "run", lambda *_, **__: pytest.fail("converted again"))
    assert fp16.converted(model) == half

    from dataclasses import replace

    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (448, 448, 3), dtype=np.uint8) for _ in range(3)]
    exact, rough = open_session(model, "cpu"), open_session(replace(model, onnx=half), "cpu")
    found = fp16.flips(exact, rough, pixels)
    assert 0 < found.largest < 0.05 and found.images == 3 and found.tags == (exact.run(pixels) >= 0.35).sum()


class Fixed:
    """A session with the scores it is given."""

    best_batch = 2

    def __init__(self, *scores: list[float]) -> None:
        self.scores = np.array(scores, np.float32)
        self.at = 0

    def run(self, images: list[object], batch: int) -> np.ndarray:
        self.at += len(images)
        return self.scores[self.at - len(images) : self.at]


def test_flips_are_counted_both_ways() -> None:
    """Tags that cross their threshold, up or down, over all images; one threshold for all, or one for each tag."""
    before = [[0.34, 0.36, 0.9], [0.2, 0.5, 0.1], [0.36, 0.34, 0.5]]
    after = [[0.36, 0.34, 0.9], [0.2, 0.5, 0.1], [0.36, 0.36, 0.5]]

    def compared(thresholds: object) -> fp16.Flips:
        sessions: list[TaggerSession] = [Fixed(*before), Fixed(*after)]  # type: ignore[list-item]
        return fp16.flips(*sessions, [np.zeros(())] * 3, thresholds)  # type: ignore[arg-type]

    found = compared(0.35)
    assert (found.tags, found.gained, found.lost) == (5, 2, 1) and found.largest == pytest.approx(0.02)
    assert found.sentence().startswith("Half precision changes 3 of 5 tags in 3 images (2 more, 1 fewer)")
    assert compared(np.array([0.1, 0.1, 0.95], np.float32)).gained == 0


def test_without_the_converter_the_command_that_brings_it_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package onnx is an extra of its own."""
    monkeypatch.setattr(fp16, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package onnx") as caught:
        fp16.converted(tiny())
    assert "kohya-tui[fp16]" in (caught.value.hint or "")


def test_a_model_that_cannot_be_converted_leaves_nothing_behind(cache: Path, tmp_path: Path) -> None:
    """One sentence, no half-written file."""
    pytest.importorskip("onnx")
    from dataclasses import replace

    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="cannot be converted"):
        fp16.converted(replace(tiny(), onnx=broken))
    assert not list((cache / "fp16").iterdir())


def test_on_the_cpu_half_precision_is_refused_with_a_note() -> None:
    """The captions are those of the full model, and the run says so."""
    session = open_session(tiny(), "cpu", fp16=True)
    assert session.model.onnx == tiny().onnx
    (note,) = session.take_notes()
    assert "full precision" in note
