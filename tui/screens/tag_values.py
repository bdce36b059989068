"""The values of the Tag screen's form: what it starts with, and the request after a key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.problems import UserError
from core.settings import Settings
from core.tagging.options import MERGES, ORDERS, POLICIES, PROVIDERS, CaptionOptions, TagRequest
from tui.widgets.form import choice_step

GUIDE = TagRequest(
    target="",
    caption=CaptionOptions(
        general_threshold=0.35,
        character_threshold=0.45,
        remove_underscore=True,
        undesired_tags="realistic, photo, simple background, white background",
        character_tags_first=True,
    ),
)
"""What the form starts with: the values of the guide's command."""
OFF = 1.1
STEP = 0.05
CATEGORIES = ("general", "character", "copyright", "meta", "model-tags", "artist")
"""Fields of the categories' thresholds; `model` is another field."""
THRESHOLDS = ("thresh", *CATEGORIES)
PLACES = ("no", "first", "last")
ADAPTIVE = ("no", "general", "character", "both")
SCORES = ("stored", "anew", "only")
CAPTION_FLAGS = {
    "underscore": "remove_underscore",
    "first": "character_tags_first",
    "expand": "character_tag_expand",
    "overlap": "drop_overlap",
    "author": "author_thresholds",
    "compat": "sd_compat",
    "debug": "debug",
}
REQUEST_FLAGS = {
    "recursive": "recursive",
    "frequency": "frequency_tags",
    "fp16": "fp16",
    "gpu": "require_gpu",
    "force": "force_download",
}
CAPTION_TEXTS = {
    "undesired": "undesired_tags",
    "always": "always_first_tags",
    "replacement": "tag_replacement",
    "single": "tag_thresholds",
    "sets": "blacklist",
}
REQUEST_TEXTS = {"trigger": "trigger", "revision": "revision", "folder": "model_dir", "output": "output_path"}
NUMBERS = {"batch": "batch_size", "readers": "workers", "threads": "threads"}
CHOICES: Mapping[str, Sequence[str]] = {
    "policy": POLICIES,
    "provider": PROVIDERS,
    "rating": PLACES,
    "quality": PLACES,
    "adaptive": ADAPTIVE,
    "order": ORDERS,
    "merge": MERGES,
    "scores": SCORES,
}


def start_request(settings: Settings, dataset: str | None) -> TagRequest:
    """The form's first values for a dataset."""
    return replace(GUIDE, target=dataset or "", model=settings.tagger, trigger=settings.trigger or dataset)


def attribute(key: str) -> str:
    """The option of a threshold's field."""
    return "thresh" if key == "thresh" else f"{word(key)}_threshold"


def word(key: str) -> str:
    """The category of a threshold's field."""
    return key.removesuffix("-tags")


def in_force(caption: CaptionOptions, key: str) -> float:
    """The threshold of a field: its own value, or the one for all."""
    value: float | None = getattr(caption, attribute(key))
    return caption.thresh if value is None else value


def value_of(request: TagRequest, key: str) -> str:
    """The value of a choice that is in force."""
    caption = request.caption
    match key:
        case "rating":
            return "first" if caption.use_rating_tags else "last" if caption.use_rating_tags_as_last_tag else "no"
        case "quality":
            return "first" if caption.use_quality_tags else "last" if caption.use_quality_tags_as_last_tag else "no"
        case "adaptive":
            both = (caption.general_mcut, caption.character_mcut)
            return {(False, False): "no", (True, False): "general", (False, True): "character"}.get(both, "both")
        case "order":
            return caption.tag_order
        case "merge":
            return caption.merge
        case "scores":
            return "only" if request.from_scores else "anew" if request.fresh else "stored"
    value: str = getattr(request, key)
    return value


def chosen(request: TagRequest, key: str, value: str) -> TagRequest:
    """The request with `value` chosen for `key`."""
    match key:
        case "rating":
            return _caption(request, use_rating_tags=value == "first", use_rating_tags_as_last_tag=value == "last")
        case "quality":
            return _caption(request, use_quality_tags=value == "first", use_quality_tags_as_last_tag=value == "last")
        case "adaptive":
            general, character = value in {"general", "both"}, value in {"character", "both"}
            return _caption(request, general_mcut=general, character_mcut=character)
        case "order":
            return _caption(request, tag_order=value)
        case "merge":
            return _caption(request, merge=value)
        case "scores":
            return replace(request, from_scores=value == "only", fresh=value == "anew")
    values: dict[str, Any] = {key: value}
    return replace(request, **values)


def switched(request: TagRequest, key: str) -> TagRequest:
    """The request with the flag `key` the other way."""
    if key in CAPTION_FLAGS:
        name = CAPTION_FLAGS[key]
        return _caption(request, **{name: not getattr(request.caption, name)})
    name = REQUEST_FLAGS[key]
    values: dict[str, Any] = {name: not getattr(request, name)}
    return replace(request, **values)


def stepped(request: TagRequest, key: str, by: int) -> TagRequest:
    """Left or right: the next choice, or a threshold 0.05 up or down; beyond 1 it is off."""
    if key in CHOICES:
        return chosen(request, key, choice_step(CHOICES[key], value_of(request, key), by))
    if key not in THRESHOLDS:
        return request
    return _caption(request, **{attribute(key): stepped_threshold(in_force(request.caption, key), by)})


def stepped_threshold(value: float, by: int) -> float:
    """The next multiple of 0.05, up to 1 and then off."""
    if value > 1:
        return 1.0 if by < 0 else OFF
    steps = math.floor(value / STEP + 1e-6) + 1 if by > 0 else math.ceil(value / STEP - 1e-6) - 1
    found = round(steps * STEP, 2)
    return OFF if found > 1 else max(STEP, found)


def changed(request: TagRequest, key: str, text: str) -> TagRequest:
    """The request with the typed `text` in field `key`. Raises UserError when it cannot be used."""
    text = text.strip() if key != "separator" else text
    if key in THRESHOLDS:
        empty = None if key != "thresh" else CaptionOptions().thresh
        found = _caption(request, **{attribute(key): _number(text) if text else empty})
    elif key in NUMBERS:
        found = replace(request, **_whole(key, text))
    elif key == "vram":
        found = replace(request, vram_limit=_gigabytes(text))
    elif key == "devices":
        found = replace(request, devices=_devices(text))
    elif key == "separator":
        found = _caption(request, caption_separator=text.replace("\\n", "\n") or ", ")
    elif key == "extension":
        from core.tagging.command import caption_extension

        found = replace(request, caption_extension=caption_extension(text or ".txt"))
    elif key in REQUEST_TEXTS:
        values: dict[str, Any] = {REQUEST_TEXTS[key]: text or None}
        found = replace(request, **values)
    else:
        name = CAPTION_TEXTS[key]
        may_be_none = getattr(CaptionOptions(), name) is None
        found = _caption(request, **{name: text or (None if may_be_none else "")})
    check(found)
    return found


def check(request: TagRequest) -> None:
    """UserError for options that a run would refuse."""
    from core.dataset.captions import check_tag, trigger_tags
    from core.tagging.cleaning import check_options

    check_options(request.caption)
    check_tag(request.caption.tag_replacement or "", "text of Replace")
    if request.trigger is not None:
        trigger_tags(request.trigger)


def own_threshold(request: TagRequest, tag: str) -> float | None:
    """The threshold that a tag has for itself."""
    from core.tagging.cleaning import parse_tag_thresholds

    return parse_tag_thresholds(request.caption.tag_thresholds).get(folded(tag))


def with_own_threshold(request: TagRequest, name: str, value: float | None) -> TagRequest:
    """The request with a threshold for one tag; None takes it away again."""
    kept = [
        entry
        for entry in re.split(r"(?<!\\);", request.caption.tag_thresholds)
        if entry.strip() and folded(entry.rpartition("=")[0].replace("\\;", ";")) != folded(name)
    ]
    if value is not None:
        kept.append(f"{name.replace(';', chr(92) + ';')}={value:g}")
    return _caption(request, tag_thresholds=";".join(kept))


def folded(tag: str) -> str:
    """What the spellings of a tag have in common, as the thresholds of single tags are looked up."""
    return " ".join(tag.replace("_", " ").casefold().split())


def _caption(request: TagRequest, **values: Any) -> TagRequest:
    return replace(request, caption=replace(request.caption, **values))


def _number(text: str) -> float:
    if text.lower() in {"off", "no"}:
        return OFF
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= OFF:
        raise UserError(f"{text!r} is not a threshold", "Write a number between 0 and 1, or off.")
    return value


def _whole(key: str, text: str) -> dict[str, Any]:
    least = 0 if key == "readers" else 1
    if text and (not text.isdecimal() or int(text) < least):
        what = {"batch": "a batch size", "readers": "a number of readers", "threads": "a number of threads"}[key]
        raise UserError(f"{text!r} is not {what}", "Write a whole number, or nothing for the machine's own.")
    return {NUMBERS[key]: int(text) if text else None}


def _gigabytes(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.lower().removesuffix("gb").removesuffix("g"))
    except ValueError:
        value = -1
    if not 0 < value < float("inf"):
        raise UserError(f"{text!r} is not a number of gigabytes", "Write for example 8, or nothing for no limit.")
    return value


def _devices(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise UserError(
            f"{text!r} is not a list of GPUs", "Write their numbers, such as 0,1, or nothing for the first."
        )
    return tuple(dict.fromkeys(map(int, parts)))
