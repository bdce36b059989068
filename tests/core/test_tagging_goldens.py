"""Captions against those that the real sd-scripts wrote (tests/data/goldens)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.tagging.command import parse_command
from core.tagging.listing import find_images
from core.tagging.options import TagRequest

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
CASES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((GOLDENS / "cases").glob("*.json"))}
FINISHED = [name for name, case in CASES.items() if case["exit"] == "ok" and not name.startswith("b")]
pytest.importorskip("onnxruntime")


def captions_of(case: dict[str, Any], request: TagRequest, score: Callable[..., Any]) -> tuple[dict[str, str], Any]:
    """Captions as a run writes them, from scores that are computed once per model."""
    from core.tagging.captioning import Captioner, merge_existing
    from core.tagging.listing import caption_path, last_of_each
    from core.tagging.results import Results

    options = request.caption
    images = find_images(GOLDENS / "images" / "good", recursive=request.recursive, sd_compat=options.sd_compat)
    session, scores = score(case["model"], images, options.sd_compat)
    captioner = Captioner(session.labels, options, by_probability=session.model.format.by_probability)
    writers = last_of_each(images, request.caption_extension)
    results = Results(Path(os.devnull), is_counting=True)
    written = {}
    for image in images:
        tags = captioner.tags(scores[image])
        results.tagged(image, tags)
        caption = caption_path(image, request.caption_extension)
        appends = request.policy == "append"
        if writers[caption] != image and not (appends and options.sd_compat):
            continue
        name = caption.relative_to(GOLDENS / "images" / "good").as_posix()
        old = written.get(name) or case.get("before", {}).get(name)
        final = merge_existing(old.replace("\r\n", "\n"), tags.tags, options) if appends and old else tags.tags
        written[name] = options.caption_separator.join(final) + "\n"
    return written, results


@pytest.fixture(scope="module")
def score() -> Callable[..., Any]:
    """Scores of images by model, each computed once for all cases."""
    from core.settings import Settings
    from core.tagging.models import find_model
    from core.tagging.pipeline import tag_images
    from core.tagging.session import open_session

    sessions: dict[str, Any] = {}
    known: dict[tuple[str, bool, Path], Any] = {}

    def scores(model: str, images: list[Path], clip: bool) -> tuple[Any, dict[Path, Any]]:
        model = model.replace("tiny-fixed1", "tiny-dyn")
        if model not in sessions:
            sessions[model] = open_session(find_model(model, None, Settings(), GOLDENS / "model"), "cpu", 2)
        missing = [image for image in images if (model, clip, image) not in known]
        for batch in tag_images(missing, [[sessions[model]]], batch=8, clip_16_bit=clip):
            for item in batch:
                assert item.error is None
                (known[model, clip, item.path],) = item.scores
        return sessions[model], {image: known[model, clip, image] for image in images}

    return scores


@pytest.mark.parametrize("name", FINISHED)
def test_captions_equal_sd_scripts_letter_by_letter(name: str, score: Callable[..., Any]) -> None:
    """With --sd-compat every caption of a case is the one that sd-scripts wrote, the near-threshold ones included."""
    case = CASES[name]
    request = parse_command(["images", "--onnx", "--sd-compat", *case["flags"]])
    written, results = captions_of(case, request, score)
    if case.get("captions"):
        expected = case["captions"]
        assert set(written) == set(expected)
        different = {key for key in expected if written[key] != expected[key]}
        assert not different, {key: (written[key], expected[key]) for key in sorted(different)[:2]}
    if "stdout_frequencies.txt" in case:
        lines = ["Tag frequencies:", *(f"{tag}: {count}" for tag, count in results.frequencies.most_common())]
        assert lines == case["stdout_frequencies.txt"].splitlines()


BY_DEFAULT = ("01", "02", "03", "05", "07", "09", "14", "25", "26", "27", "31", "34", "40", "41", "47")
"""Cases that record no mistake of sd-scripts, but for the 16-bit picture that it sees white."""
SAME_TAGS = ("08", "11", "17", "18", "19", "22", "50", "51")
"""Cases where sd-scripts has the right tags (undesired ones aside) in an order or spelling that nobody asked for."""


def numbered(numbers: tuple[str, ...]) -> list[str]:
    return [name for name in FINISHED if name[:2] in numbers]


@pytest.mark.parametrize("name", numbered(BY_DEFAULT))
def test_captions_equal_without_sd_compat_where_sd_scripts_is_right(name: str, score: Callable[..., Any]) -> None:
    """Without --sd-compat only the 16-bit picture gets other tags, and a file named .Jpeg is tagged, too."""
    case = CASES[name]
    written, _ = captions_of(case, parse_command(["images", *case["flags"]]), score)
    different = {key for key in case["captions"] if written[key] != case["captions"][key]}
    assert {Path(key).stem for key in different} <= {"i16_gray"}
    assert {Path(key).stem for key in set(written) - set(case["captions"])} == {"Mixed"}


@pytest.mark.parametrize("name", numbered(SAME_TAGS))
def test_the_tags_are_the_same_where_only_their_form_differs(name: str, score: Callable[..., Any]) -> None:
    """Order and underscores aside, the tags equal sd-scripts', and no undesired one is left in any spelling."""
    case = CASES[name]
    request = parse_command(["images", *case["flags"]])
    written, _ = captions_of(case, request, score)
    splitter = request.caption.caption_separator.strip()
    undesired = {tag.strip().replace("_", " ") for tag in request.caption.undesired_tags.split(splitter)}
    for key, golden in case["captions"].items():
        if Path(key).stem == "i16_gray":
            continue
        ours, theirs = (
            sorted(tag.strip() for tag in text.replace("_", " ").split(splitter) if tag.strip())
            for text in (written[key], golden)
        )
        assert ours == [tag for tag in theirs if tag not in undesired], key
