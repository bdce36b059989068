"""The pipeline: many files through a few threads and models, in order, in bounded memory, and stopped soon."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.problems import UserError
from core.settings import Settings
from core.tagging import pipeline, reading
from core.tagging.models import TaggerModel, find_model
from core.tagging.pace import Pace
from core.tagging.pipeline import Tagged, tag_images
from core.tagging.reading import MemoryGate, read_content
from core.tagging.session import TaggerSession, expected_input, open_session

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
GOOD, BAD = GOLDENS / "images" / "good", GOLDENS / "images" / "bad"

pytest.importorskip("onnxruntime")


def tiny(name: str = "SmilingWolf_tiny-dyn") -> TaggerModel:
    return find_model(str(GOLDENS / "model" / name), None, Settings())


def cl_tagger() -> TaggerModel:
    return find_model("cella/tiny-cl/v1", None, Settings(), GOLDENS / "model")


def opened(model: TaggerModel | None = None) -> TaggerSession:
    return open_session(model or tiny(), "cpu", 1)


def all_of(*args: Any, **how: Any) -> list[Tagged]:
    return [item for group in tag_images(*args, **how) for item in group]


def rows(items: Sequence[Tagged], model: int = 0) -> NDArray[np.float32]:
    return np.stack([item.scores[model] for item in items if item.scores is not None])


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Held:
    """A session whose model waits for `gate` before every batch, or fails."""

    def __init__(self, session: TaggerSession, gate: threading.Event | None = None, fails_after: int = 10**9) -> None:
        self.session, self.gate, self.fails_after = session, gate, fails_after
        self.batches: list[int] = []
        self.is_broken_off = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def finish(self, staged: Any) -> Any:
        self.batches.append(len(staged.images))
        while self.gate is not None and not self.gate.wait(0.01):
            if self.is_broken_off:
                raise UserError("broken off")
        if len(self.batches) > self.fails_after:
            raise UserError("The model tiny failed: CUDA failure 719", "Try --provider cpu.")
        return self.session.finish(staged)

    def terminate(self) -> None:
        self.is_broken_off = True
        self.session.terminate()


@contextlib.contextmanager
def opens_when(gate: threading.Event, condition: Callable[[], bool]) -> Iterator[None]:
    """Set `gate` once `condition` holds, while the block runs."""
    watcher = threading.Thread(target=lambda: (until(condition), gate.set()))
    watcher.start()
    yield
    watcher.join(30)


def test_scores_do_not_depend_on_the_batch() -> None:
    """One by one, in eights, or filled up to a fixed batch of four: the same numbers, in the order of the files."""
    paths = sorted(GOOD.glob("rgb_*.*"))
    runs = []
    for name, batch in (("SmilingWolf_tiny-dyn", 1), ("SmilingWolf_tiny-dyn", 8), ("SmilingWolf_tiny-fixed4", 3)):
        items = all_of(paths, [[opened(tiny(name))]], batch=batch)
        assert [item.path for item in items] == paths
        runs.append(rows(items))
    assert np.allclose(runs[0], runs[1], atol=1e-6) and np.allclose(runs[0], runs[2], atol=1e-6)
    assert runs[0].min() >= 0 and runs[0].max() <= 1


def test_several_models_give_a_row_each_and_share_the_decoding() -> None:
    """Two formats in one pass: each model's scores are those that it gives alone."""
    paths = sorted(GOOD.glob("rgb_*.*"))
    both = all_of(paths, [[opened(), opened(cl_tagger())]], batch=4)
    for place, model in enumerate((tiny(), cl_tagger())):
        assert np.allclose(rows(both, place), rows(all_of(paths, [[opened(model)]], batch=4)), atol=1e-6)


def test_several_devices_share_the_images_in_order() -> None:
    """Both lanes get work, and the results come in the order of the paths."""
    paths = sorted(GOOD.glob("rgb_*.*")) * 6
    gate = threading.Event()
    lanes = [[Held(opened(), gate)], [Held(opened(), gate)]]
    with opens_when(gate, lambda: all(lane[0].batches for lane in lanes)):
        items = all_of(paths, lanes, batch=2, threads=3)
    assert [item.path for item in items] == paths
    assert all(lane[0].batches for lane in lanes)
    assert np.allclose(rows(items), rows(all_of(paths, [[opened()]], batch=2)), atol=1e-6)


def test_a_device_that_fails_leaves_its_images_to_the_others() -> None:
    """Nothing is lost and nothing done twice; it is said once."""
    paths = sorted(GOOD.glob("rgb_*.*")) * 6
    gate, pace = threading.Event(), Pace()
    failing, other = Held(opened(), fails_after=0), Held(opened(), gate)
    with opens_when(gate, lambda: bool(failing.batches)):
        items = all_of(paths, [[failing], [other]], batch=2, pace=pace)
    assert [item.path for item in items] == paths and all(item.scores for item in items)
    (note,) = pace.take_notes()
    assert "CUDA failure 719" in note and "The other GPUs go on" in note


def test_a_device_that_fails_with_two_batches_counts_once() -> None:
    """One batch runs and the next cannot be laid ready: both fail, and the other device still does everything."""
    paths = sorted(GOOD.glob("rgb_*.*")) * 6
    begun, staged = threading.Event(), threading.Event()

    class FailsTwice(Held):
        def stage(self, images: Any, batch: int | None = None) -> Any:
            if begun.is_set():
                staged.set()
                raise UserError("CUDA failure 2", "")
            return self.session.stage(images, batch)

        def finish(self, staged_batch: Any) -> Any:
            begun.set()
            assert staged.wait(20)
            raise UserError("CUDA failure 719", "")

    gate, pace = threading.Event(), Pace()
    other = Held(opened(), gate)
    with opens_when(gate, staged.is_set):
        items = all_of(paths, [[FailsTwice(opened())], [other]], batch=2, threads=3, pace=pace)
    assert [item.path for item in items] == paths and all(item.scores for item in items)
    assert len(pace.take_notes()) == 1


def test_a_model_that_fails_ends_the_pass_after_what_is_finished() -> None:
    """The batches before the failure are given, then the sentence."""
    paths = [GOOD / "rgb_square.jpg"] * 20
    given: list[Tagged] = []
    with pytest.raises(UserError, match="CUDA failure 719"):
        for group in tag_images(paths, [[Held(opened(), fails_after=2)]], batch=2):
            given += group
    assert len(given) == 4 and all(item.scores for item in given)


def test_unreadable_files_have_reasons_and_no_content_is_read_twice() -> None:
    """Every kind of broken file gives a sentence; the readable ones between them are scored; contents are hashed."""
    paths = [*sorted(path for path in BAD.iterdir() if path.is_file()), GOOD / "rgb_square.jpg", BAD / "nothing.png"]
    items = {item.path.name: item for item in all_of(paths, [[opened()]], batch=4)}
    assert items["rgb_square.jpg"].scores is not None
    assert items["rgb_square.jpg"].content == read_content(GOOD / "rgb_square.jpg")[0]
    assert len(items["rgb_square.jpg"].content) == 32
    assert items["nothing.png"].content == "" and "does not exist" in (items["nothing.png"].error or "")
    assert all((item.scores is None) == (item.error is not None) for item in items.values())


def test_a_very_large_file_is_hashed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its content is the same, its bytes are not kept, and it is decoded all the same."""
    path = GOOD / "larger_1800x1200.jpg"
    whole = read_content(path)
    assert whole[1] == path.read_bytes() and whole[2] == path.stat().st_size
    monkeypatch.setattr(reading, "_WHOLE", 1000)
    assert read_content(path) == (whole[0], None, whole[2])
    (item,) = all_of([path], [[opened()]])
    assert item.scores is not None and item.size == (1800, 1200)


def test_images_with_stored_scores_are_not_decoded() -> None:
    """`lookup` knows three of four contents: the model sees one, the others come with the stored rows."""
    paths = sorted(GOOD.glob("rgb_*.*"))[:4]
    stored = {read_content(path)[0]: (np.full(314, number, np.float32),) for number, path in enumerate(paths[1:])}
    held, pace = Held(opened()), Pace()
    asking = threading.Lock()

    def lookup(content: str) -> Any:
        assert asking.acquire(blocking=False)  # never two at a time
        try:
            return stored.get(content)
        finally:
            asking.release()

    items = all_of(paths, [[held]], batch=4, threads=4, lookup=lookup, pace=pace)
    assert [item.is_known for item in items] == [False, True, True, True] and held.batches == [1]
    assert [item.scores[0][0] for item in items[1:] if item.scores] == [0, 1, 2]
    assert all(item.size for item in items) and (pace.known, pace.images) == (3, 4)


def test_decoding_begins_while_the_model_loads() -> None:
    """The first pictures are ready before the model is; what it wants was read from its file."""
    paths = sorted(GOOD.glob("rgb_*.*"))[:2]
    gate, ready = threading.Event(), threading.Event()
    real = reading.prepare

    def prepared(*args: Any) -> Any:
        ready.set()
        return real(*args)

    def load() -> list[list[TaggerSession]]:
        assert gate.wait(20)
        return [[opened()]]

    wanted = expected_input(tiny())
    assert wanted is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "prepare", prepared)
        found: list[Tagged] = []
        work = threading.Thread(target=lambda: found.extend(all_of(paths, load, inputs=[wanted])))
        work.start()
        assert ready.wait(20) and not found
        gate.set()
        work.join(20)
    assert [item.path for item in found] == paths and all(item.scores for item in found)


def test_without_knowing_the_input_pictures_wait_for_the_model() -> None:
    """The same results, from a function alone."""
    paths = sorted(GOOD.glob("rgb_*.*"))[:3]
    assert len(rows(all_of(paths, lambda: [[opened()]]))) == 3


def test_a_model_that_cannot_be_loaded_is_the_error_of_the_pass() -> None:
    """What the function raises comes out, and no thread stays."""
    before = threading.active_count()

    def load() -> list[list[TaggerSession]]:
        raise UserError("Cannot load the model x", "Download it again.")

    with pytest.raises(UserError, match="Cannot load"):
        all_of([GOOD / "rgb_square.jpg"] * 5, load)
    until(lambda: threading.active_count() == before)


def test_models_that_want_other_pixels_than_announced_end_the_pass() -> None:
    """The pictures were prepared for another input: the pass says so instead of waiting for ever."""
    wanted = expected_input(tiny())
    assert wanted is not None
    with pytest.raises(AssertionError, match="was announced"):
        all_of([GOOD / "rgb_square.jpg"] * 3, lambda: [[opened()]], inputs=[replace(wanted, size=224)])


def test_a_stop_while_the_model_loads_fails_no_image() -> None:
    """A picture that waits for what the model wants is not told as damaged; what was known already is given."""
    paths = [GOOD / "rgb_square.jpg", *sorted(GOOD.glob("rgb_*.png"))]
    known, _, _ = read_content(paths[0])
    row = np.zeros(3, np.float32)
    loading, asked, waiting = threading.Event(), threading.Event(), threading.Event()
    before = threading.active_count()

    def load() -> list[list[TaggerSession]]:
        assert loading.wait(20)
        return [[opened()]]

    def lookup(content: str) -> tuple[NDArray[np.float32]] | None:
        if content == known:
            return (row,)
        waiting.set()
        return None

    batches = tag_images(paths, load, threads=2, lookup=lookup, should_stop=asked.is_set)
    items = list(next(batches))
    assert waiting.wait(20)
    asked.set()
    for group in batches:
        time.sleep(0.2)  # whoever still waits would hand in a failure now
        items += group
    loading.set()
    assert [item.path for item in items] == paths[:1] and items[0].is_known
    until(lambda: threading.active_count() == before)


def test_a_stopped_pipeline_ends_soon_and_leaves_no_thread() -> None:
    """Few pictures are decoded ahead, and closing the generator ends its threads."""
    before = threading.active_count()
    batches = tag_images([GOOD / "rgb_square.jpg"] * 1000, [[opened()]], batch=1)
    assert isinstance(next(batches)[0], Tagged)
    batches.close()
    until(lambda: threading.active_count() == before)


def test_a_stop_breaks_off_the_batch_in_the_model_and_gives_what_is_finished() -> None:
    """The model would take forever: the answer comes within half a second all the same."""
    gate, asked = threading.Event(), threading.Event()
    gate.set()
    held = Held(opened(), gate)
    batches = tag_images([GOOD / "rgb_square.jpg"] * 100, [[held]], batch=2, should_stop=asked.is_set)
    first = next(batches)
    gate.clear()
    begun = time.monotonic()
    asked.set()
    rest = [item for group in batches for item in group]
    assert time.monotonic() - begun < 2  # half a second on an idle machine
    assert first and len(first) + len(rest) < 20 and all(item.scores for item in [*first, *rest])


def test_decoding_waits_for_a_slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the model at a standstill only a few pictures are read: three batches and one per thread."""
    read: list[Path] = []
    real = pipeline.read_picture

    def counted(path: Path, *args: Any, **how: Any) -> Any:
        read.append(path)
        return real(path, *args, **how)

    monkeypatch.setattr(pipeline, "read_picture", counted)
    gate = threading.Event()
    batches = tag_images([GOOD / "rgb_square.jpg"] * 200, [[Held(opened(), gate)]], batch=2, threads=3)
    work = threading.Thread(target=lambda: next(batches))
    work.start()
    until(lambda: len(read) >= 9)
    time.sleep(0.1)
    assert len(read) == 9
    gate.set()
    work.join(20)
    batches.close()


def test_one_slow_picture_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first picture takes its time: the others are scored meanwhile, at most as many as may wait for it."""
    monkeypatch.setattr(pipeline, "_WINDOW", 20)
    real = pipeline.read_picture
    paths = [BAD / "zero.png", *[GOOD / "rgb_square.jpg"] * 60]
    held, pace = Held(opened()), Pace()

    def slow(path: Path, *args: Any, **how: Any) -> Any:
        if path == paths[0]:
            until(lambda: sum(held.batches) >= 10)
        return real(path, *args, **how)

    monkeypatch.setattr(pipeline, "read_picture", slow)
    items = all_of(paths, [[held]], batch=2, threads=2, pace=pace)
    assert [item.path for item in items] == paths and items[0].error and pace.images == 61


def test_large_pictures_are_decoded_one_after_the_other() -> None:
    """Two that do not fit together wait for each other; one above the limit goes alone."""
    gate = MemoryGate(100)
    inside: list[int] = []
    most: list[int] = []

    def decode(pixels: int) -> None:
        with gate.admit(pixels):
            inside.append(pixels)
            most.append(sum(inside))
            time.sleep(0.005)
            inside.remove(pixels)

    threads = [threading.Thread(target=decode, args=(pixels,)) for pixels in (60, 60, 30, 200, 10, 90)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(most) == 6 and all(total <= 100 or total == 200 for total in most)
    with gate.admit(90):
        second = threading.Thread(target=decode, args=(60,))
        second.start()
        gate.widen(50)
        second.join(20)
        assert not second.is_alive()


def test_the_pace_says_which_side_limits() -> None:
    """A model that waits for pictures is not the limit, and the other way round; early on nothing is said."""
    pace = Pace(threads=8, device="CUDA", lanes=1)
    assert pace.limited_by() is None and pace.shares() == (0, 0)
    pace.begin()
    pace.images = 100
    assert pace._started is not None
    pace._started -= 10
    pace.end()
    pace.decode_seconds, pace.model_seconds = 78, 3
    assert pace.limited_by() == "decoding (8 threads)"
    decode, model = pace.shares()
    assert decode == pytest.approx(0.975, abs=0.01) and model == pytest.approx(0.3, abs=0.01)
    pace.decode_seconds, pace.model_seconds = 20, 9.9
    assert pace.limited_by() == "the model (CUDA)"
    pace.model_seconds, pace.writing_seconds = 2, 9.5
    assert pace.limited_by() == "writing"


def test_a_pass_fills_its_pace() -> None:
    """Counts, bytes and seconds of a real pass."""
    paths = sorted(GOOD.glob("rgb_*.*")) * 3
    pace = Pace()
    all_of(paths, [[opened()]], batch=4, threads=2, pace=pace)
    assert pace.images == len(paths) and pace.read_bytes == sum(path.stat().st_size for path in paths)
    assert pace.decode_seconds > 0 and pace.model_seconds > 0 and (pace.threads, pace.device) == (2, "CPU")
