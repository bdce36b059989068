"""Captions from stored scores: letter by letter those of the whole row; and a preview counts what is written."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.dataset.captions import CaptionError, decode, first_line, split, tag_key
from core.tagging import rethreshold
from core.tagging.captioning import Captioner
from core.tagging.descriptors import CL, TaggerModel
from core.tagging.difference import Difference
from core.tagging.labels import Category, LabelSet
from core.tagging.listing import caption_path, find_images
from core.tagging.merging import PassCaptioner
from core.tagging.options import MERGES, ORDERS, CaptionOptions, TagRequest
from core.tagging.preview import open_preview
from core.tagging.recording import change_of
from core.tagging.score_store import ScoreStore
from core.tagging.score_table import ScoreTable
from core.tagging.scores import FLOOR, content_of, read_table, scores_folder, stamp_of
from core.tagging.writing import Written
from core.workspace import Workspace, create

NAMES: dict[str, Category] = {
    "safe": Category.RATING,
    "explicit": Category.RATING,
    "best": Category.QUALITY,
    "worst": Category.QUALITY,
    "1girl": Category.GENERAL,
    "long_hair": Category.GENERAL,
    "very_long_hair": Category.GENERAL,
    "absurdly_long_hair": Category.GENERAL,
    "cat_ears": Category.GENERAL,
    "animal_ears": Category.GENERAL,
    "simple_background": Category.GENERAL,
    "^_^": Category.GENERAL,
    "fate": Category.GENERAL,
    "saber_(fate)": Category.CHARACTER,
    "rin_(bow)_(fate)": Category.CHARACTER,
    "nier": Category.COPYRIGHT,
    "signature": Category.META,
    "": Category.OTHER,
}
LABELS = LabelSet(tuple(NAMES), tuple(NAMES.values()))
OTHER = LabelSet(
    ("1girl", "Long Hair", "hair", "solo", "nier", "old nier", "safe"), (*[Category.GENERAL] * 6, Category.RATING)
)

thresholds = st.one_of(st.none(), st.floats(0.015625, 1, width=32), st.sampled_from([FLOOR, 0.35, 0.5, 1.1]))
caption_options = st.builds(
    CaptionOptions,
    thresh=st.floats(0.015625, 1, width=32),
    general_threshold=thresholds,
    character_threshold=thresholds,
    meta_threshold=thresholds,
    remove_underscore=st.booleans(),
    undesired_tags=st.sampled_from(["", "1girl", "long hair,fate", "safe"]),
    use_rating_tags=st.booleans(),
    use_rating_tags_as_last_tag=st.booleans(),
    use_quality_tags=st.booleans(),
    character_tags_first=st.booleans(),
    always_first_tags=st.sampled_from([None, "fate, 1girl"]),
    caption_separator=st.sampled_from([", ", ",", "; ", " "]),
    tag_replacement=st.sampled_from([None, "1girl,one girl;fate,nier"]),
    character_tag_expand=st.booleans(),
    sd_compat=st.booleans(),
    general_mcut=st.booleans(),
    character_mcut=st.booleans(),
    tag_thresholds=st.sampled_from(["", "1girl=0.9;cat ears=0.02", "saber_(fate)=1.5"]),
    blacklist=st.sampled_from(["", "background,text", "traits"]),
    drop_overlap=st.booleans(),
    tag_order=st.sampled_from(ORDERS),
    merge=st.sampled_from(MERGES),
    debug=st.booleans(),
)
values = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, FLOOR, 0.35, 0.5, 1.0]))


def rows(labels: LabelSet, count: int) -> st.SearchStrategy[list[np.ndarray[Any, Any]]]:
    """`count` images' scores."""
    row = st.lists(values, min_size=len(labels), max_size=len(labels)).map(lambda found: np.array(found, np.float32))
    return st.lists(row, min_size=count, max_size=count)


def stored(folder: Path, labels: LabelSet, given_rows: Sequence[np.ndarray[Any, Any]], key: str = "key") -> ScoreTable:
    """What is read after these rows were kept, one image each."""
    store = ScoreStore(folder / "scores", key, "a model", labels)
    images = []
    for number, row in enumerate(given_rows):
        image = folder / f"{number}.png"
        image.write_bytes(bytes([number]))
        content = content_of([bytes([number])])
        store.add(content, row)
        store.place(image, stamp_of(image), content)
        images.append(image)
    store.close()
    assert store.failure is None
    table = read_table(folder / "scores", key, images)
    assert table is not None and list(table.images) == images
    return table


@settings(max_examples=150, deadline=None)
@given(caption_options, rows(LABELS, 3), st.booleans())
def test_captions_from_stored_scores_are_those_of_the_whole_row(
    options: CaptionOptions, found: list[np.ndarray[Any, Any]], by_probability: bool
) -> None:
    """Whatever the options, as long as no threshold lies under the floor: one by one, from the table, and all at
    once.
    """
    captioner = Captioner(LABELS, options, by_probability=by_probability)
    with tempfile.TemporaryDirectory() as folder:
        table = stored(Path(folder), LABELS, found)
    assert table.covers(captioner.lowest)
    expected = [captioner.tags(row) for row in found]
    assert [captioner.tags(table.row(at)) for at in range(len(found))] == expected
    assert list(captioner.each(table)) == expected
    assert (
        list(Captioner(LABELS, CaptionOptions(), by_probability=by_probability).retuned(options).each(table))
        == expected
    )


@settings(max_examples=100, deadline=None)
@given(caption_options, rows(LABELS, 2), rows(OTHER, 2))
def test_several_models_from_stored_scores_give_the_same(
    options: CaptionOptions, first: list[np.ndarray[Any, Any]], second: list[np.ndarray[Any, Any]]
) -> None:
    """Two models of one pass, merged in any way."""
    passed = PassCaptioner([Captioner(LABELS, options), Captioner(OTHER, options)], options.merge)
    with tempfile.TemporaryDirectory() as folder:
        tables = [stored(Path(folder), LABELS, first, "a"), stored(Path(folder), OTHER, second, "b")]
    assert list(passed.each(tables)) == [passed.tags(pair) for pair in zip(first, second, strict=True)]


def test_a_threshold_under_the_floor_needs_the_model() -> None:
    """Stored scores say so themselves, for a category, a single tag, and for MCut, which never goes there."""
    table = ScoreTable(LABELS, (), (), np.zeros(1, np.intp), np.zeros(0, np.int32), np.zeros(0, np.float32), FLOOR)
    for options, is_covered in (
        (CaptionOptions(), True),
        (CaptionOptions(thresh=FLOOR), True),
        (CaptionOptions(thresh=0.005), False),
        (CaptionOptions(character_threshold=0), False),
        (CaptionOptions(tag_thresholds="1girl=0.001"), False),
        (CaptionOptions(general_mcut=True, general_threshold=0.001), True),
        (CaptionOptions(tag_thresholds="no such tag=0.001"), True),
    ):
        lowest = Captioner(LABELS, options).lowest
        assert table.covers(lowest) is (lowest >= FLOOR) is is_covered, options


CAPTIONS = (
    None,
    "",
    "rinni\n",
    "1girl, Long_Hair, drawn by hand\nsecond line, fate\n",
    "1girl, 1girl,\n",
    b"\xff\xfea\0",
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[Path]]:
    """Images with captions of every kind, two of them of one stem; some have no scores."""
    workspace = create(tmp_path_factory.mktemp("scene") / "work")
    folder = workspace.train_data / "rinni" / "10_rinni"
    folder.mkdir(parents=True)
    for number, text in enumerate(CAPTIONS):
        (folder / f"{number}.png").write_bytes(bytes([number]))
        if text is not None:
            (folder / f"{number}.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    (folder / "3.webp").write_bytes(b"of the same stem")
    (folder / "new.png").write_bytes(b"without scores")
    images = find_images(folder)
    rng = np.random.default_rng(7)
    for key, labels in (("first", LABELS), ("second", OTHER)):
        store = ScoreStore(scores_folder(workspace), key, key, labels)
        for image in images:
            if image.name != "new.png":
                content = content_of([image.read_bytes()])
                store.add(content, rng.random(len(labels)).astype(np.float32) ** 2)
                store.place(image, stamp_of(image), content)
        store.close()
    return workspace, images


MODELS = [TaggerModel(name, onnx=Path(name), labels=Path(name)) for name in ("first", "second")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=caption_options,
    policy=st.sampled_from(["overwrite", "append", "skip", "only-untagged"]),
    trigger=st.sampled_from([None, "rinni", "Fate, rinni"]),
    models=st.sampled_from([MODELS[:1], MODELS, [replace(MODELS[0], format=CL)], MODELS[::-1]]),
)
@example(options=CaptionOptions(thresh=0.05, drop_overlap=True), policy="overwrite", trigger=None, models=MODELS)
@example(  # `nier` is what a general label and a part of a character are replaced by
    options=CaptionOptions(
        thresh=0.5,
        tag_replacement="1girl,one girl;fate,nier",
        character_tag_expand=True,
        general_mcut=True,
        drop_overlap=True,
        tag_order="score",
    ),
    policy="overwrite",
    trigger=None,
    models=MODELS,
)
def test_a_preview_counts_what_would_be_written(
    scene: tuple[Workspace, list[Path]],
    monkeypatch: pytest.MonkeyPatch,
    options: CaptionOptions,
    policy: str,
    trigger: str | None,
    models: list[TaggerModel],
) -> None:
    """Every count is that of the captions as the run's own code writes them: per tag, per image, in total."""
    monkeypatch.setattr(rethreshold, "model_key", lambda model, **_: model.name)
    workspace, images = scene
    before = {path: path.read_bytes() for path in images[0].parent.glob("*.txt")}
    request = TagRequest("rinni", options, policy=policy, trigger=trigger)
    kept = open_preview(workspace, replace(request, caption=CaptionOptions(sd_compat=options.sd_compat)), models)
    assert kept is not None and kept.is_for(request, models)
    told = kept.preview(request)
    now: Counter[str] = Counter()
    then: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    added = removed = changed = 0
    difference = Difference()
    for image in images:
        path, old = caption_path(image, ".txt"), ""
        try:
            new = kept.caption(request, image)
        except CaptionError:  # not UTF-8: it cannot be appended to
            assert policy in ("append", "only-untagged")
            continue
        with contextlib.suppress(CaptionError):
            old = decode(before.get(path, b""), path)
        if new is None or not kept.writes(request, image):
            assert told.of(image).added == told.of(image).removed == ()
            continue
        plus, minus = difference.of(old, first_line(new).split(","))
        found = told.of(image)
        assert set(map(tag_key, found.added)) == set(map(tag_key, plus)), (image.name, old, new)
        assert set(map(tag_key, found.removed)) == set(map(tag_key, minus)), (image.name, old, new)
        added, removed, changed = added + len(plus), removed + len(minus), changed + bool(plus or minus)
        now.update({tag_key(tag) for tag in split(old)})
        then.update({tag_key(tag) for tag in split(new)})
        spelled |= {tag_key(tag): tag for tag in (*split(old), *split(new))}
    assert (told.added, told.removed, told.captions) == (added, removed, changed)
    assert {tag_key(each.tag): each.change for each in told.changes} == {
        key: then[key] - now[key] for key in spelled if then[key] != now[key]
    }
    assert told.unscored == 1
    assert told.changed_images() == tuple(image for image in images if told.of(image).added or told.of(image).removed)
    for change in told.changes[:2]:
        touched = told.images_with(change.tag)
        signs = [(change.tag in each.added) - (change.tag in each.removed) for each in touched]
        assert sum(signs) == change.change and 0 not in signs
    assert {path: path.read_bytes() for path in images[0].parent.glob("*.txt")} == before


PARTS = st.lists(
    st.sampled_from(("a", "A", "b c", "b_c", "B  c", " d", "", "e,f", "e", "g\nh", "g", "ß", "ss")), max_size=6
)


@given(PARTS, st.sampled_from((", ", ",", " ,")), PARTS, st.sampled_from((", ", ",", "|")))
def test_a_dry_run_tells_the_tags_that_differ_as_they_are_read(
    old: list[str], between: str, tags: list[str], separator: str
) -> None:
    """However a caption is spelled and separated: what stands in one first line and not in the other, each tag once."""
    before, after = between.join(old), separator.join(tags) + "\n"
    had, gets = ({tag_key(tag): tag for tag in split(text)} for text in (before, after))
    told = change_of(Path("image.png"), Written(before.encode(), after, tags), separator.strip(), Difference())
    assert dict(zip(map(tag_key, told.added), told.added, strict=True)) == {k: gets[k] for k in gets if k not in had}
    assert dict(zip(map(tag_key, told.removed), told.removed, strict=True)) == {k: had[k] for k in had if k not in gets}
