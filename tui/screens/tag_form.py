"""What the Tag screen asks for: the request under construction, and its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.settings import Settings
from core.tagging.options import POLICIES, PROVIDERS, CaptionOptions, TagRequest, parse_replacements
from core.text import human_bytes, printable
from tui.theme import Cells
from tui.widgets.form import Field, choice_step, slider

if TYPE_CHECKING:
    from core.tagging.models import TaggerModel

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
POLICY_NOTES = {
    "overwrite": "written anew; u takes it back",
    "append": "new tags behind those that are there",
    "skip": "images with a caption are left alone",
}
RATINGS = ("no", "first", "last")
RATING_NOTES = {"no": "", "first": "one rating tag leads each caption", "last": "one rating tag ends each caption"}
PROVIDER_NOTES = {"auto": "the GPU where it can be used", "cuda": "the GPU; says why when it cannot", "cpu": ""}
NOTES = {"policy": POLICY_NOTES, "rating": RATING_NOTES, "provider": PROVIDER_NOTES}
TITLES = {
    "target": "Dataset",
    "model": "Model",
    "policy": "What becomes of captions that are there",
    "rating": "Rating",
    "provider": "Where the model runs",
}
THRESHOLDS = ("general", "character")
STEP = 0.05


def start_request(settings: Settings, dataset: str | None) -> TagRequest:
    """The form's first values for a dataset."""
    return replace(GUIDE, target=dataset or "", model=settings.tagger, trigger=settings.trigger or dataset)


def fields(
    request: TagRequest, datasets: Mapping[str, str], model: TaggerModel | None, machine: tuple[str, str] | None
) -> list[Field]:
    """The lines of the form; `datasets` maps names to a note such as "84 images, 3 without caption".

    `machine` says where the model will run: (words, role), with the role `bad` when that is not what the machine could.
    """
    caption = request.caption
    rating = "first" if caption.use_rating_tags else "last" if caption.use_rating_tags_as_last_tag else "no"
    return [
        Field("target", "Dataset", _dataset(request, datasets), "choice"),
        Field("model", "Model", [(printable(request.model or ""), "text"), *_model(model)], "choice"),
        Field("provider", "Provider", [(request.provider, "text"), *_machine(machine)], "choice"),
        Field("", "", [], "blank"),
        *(_threshold(name, getattr(caption, f"{name}_threshold"), caption.thresh) for name in THRESHOLDS),
        Field("rating", "Rating", _text(rating), "choice", note=RATING_NOTES[rating]),
        Field("", "", [], "blank"),
        Field(
            "trigger",
            "Trigger",
            _text(request.trigger or "none"),
            raw=request.trigger or "",
            note="first in every caption" if request.trigger else "",
        ),
        Field("policy", "Captions", _text(request.policy), "choice", note=POLICY_NOTES[request.policy]),
        Field("undesired", "Undesired", _text(caption.undesired_tags or "none"), raw=caption.undesired_tags),
        Field("underscore", "Underscores", _text("become spaces" if caption.remove_underscore else "are kept"), "flag"),
        Field("", "", [], "blank"),
        Field("first", "Characters", _text("first" if caption.character_tags_first else "in place"), "flag"),
        Field(
            "always",
            "Always first",
            _text(caption.always_first_tags or "none"),
            raw=caption.always_first_tags or "",
            note="" if caption.always_first_tags else "if they were found, such as 1girl, 1boy",
        ),
        Field(
            "replacement",
            "Replace",
            _text(caption.tag_replacement or "none"),
            raw=caption.tag_replacement or "",
            note="" if caption.tag_replacement else "old,new;old,new",
        ),
        Field("batch", "Batch", _text(str(request.batch_size or "by device")), raw=str(request.batch_size or "")),
        Field("compat", "As sd-scripts", _text("yes, letter for letter" if caption.sd_compat else "no"), "flag"),
    ]


def _dataset(request: TagRequest, datasets: Mapping[str, str]) -> Cells:
    if not request.target:
        return [("none yet", "text"), ("   1, then i, brings images in", "accent")]
    return [(printable(request.target), "text"), ("   " + datasets.get(request.target, ""), "muted")]


def _model(model: TaggerModel | None) -> Cells:
    if model is None:
        return []
    size = human_bytes(model.bytes) if model.bytes else ""
    if model.is_on_disk:
        author = f" · its author's threshold: {model.threshold:.2f}" if model.threshold else ""
        return [("   on disk", "good"), (f" · {model.licence}{author}", "muted")]
    return [("   fetched first", "caution"), (f" · {size + ' · ' if size else ''}{model.licence}", "muted")]


def _machine(machine: tuple[str, str] | None) -> Cells:
    return [] if machine is None else [("   " + machine[0], machine[1])]


def _text(value: str) -> Cells:
    return [(printable(value), "text")]


def _threshold(name: str, value: float | None, fallback: float) -> Field:
    shown = fallback if value is None else value
    label = name.capitalize()
    if shown > 1:
        return Field(name, label, [("off ", "text"), (slider(1.0), "muted")], raw="off")
    return Field(name, label, [(f"{shown:.2f} ", "text"), (slider(shown), "accent")], raw=f"{shown:.2f}")


def changed(request: TagRequest, key: str, text: str) -> TagRequest:
    """The request with the typed `text` in field `key`. Raises UserError when it cannot be used."""
    text = text.strip()
    if key in THRESHOLDS:
        return _caption(request, **{f"{key}_threshold": _number(text)})
    if key == "batch":
        if text and (not text.isdecimal() or int(text) < 1):
            raise UserError(f"{text!r} is not a batch size", "Write a whole number, or nothing for the device's own.")
        return replace(request, batch_size=int(text) if text else None)
    if key == "trigger":
        return replace(request, trigger=text or None)
    if key == "replacement":
        parse_replacements(text)
        return _caption(request, tag_replacement=text or None)
    if key == "always":
        return _caption(request, always_first_tags=text or None)
    if key == "undesired":
        return _caption(request, undesired_tags=text)
    raise AssertionError(key)


def switched(request: TagRequest, key: str) -> TagRequest:
    """The request with the flag `key` the other way."""
    caption = request.caption
    if key == "first":
        return _caption(request, character_tags_first=not caption.character_tags_first)
    if key == "underscore":
        return _caption(request, remove_underscore=not caption.remove_underscore)
    if key == "compat":
        return _caption(request, sd_compat=not caption.sd_compat)
    raise AssertionError(key)


def choices(request: TagRequest, key: str) -> tuple[Sequence[str], str]:
    """The values of the choice `key`, and the one in force."""
    if key == "policy":
        return POLICIES, request.policy
    if key == "provider":
        return PROVIDERS, request.provider
    caption = request.caption
    return RATINGS, "first" if caption.use_rating_tags else "last" if caption.use_rating_tags_as_last_tag else "no"


def chosen(request: TagRequest, key: str, value: str) -> TagRequest:
    """The request with `value` chosen for `key`."""
    if key == "rating":
        return _caption(request, use_rating_tags=value == "first", use_rating_tags_as_last_tag=value == "last")
    values: dict[str, Any] = {key: value}
    return replace(request, **values)


def stepped(request: TagRequest, key: str, by: int) -> TagRequest:
    """Left or right: the next choice, or a threshold 0.05 up or down; beyond 1 it is off."""
    if key in {"policy", "provider", "rating"}:
        values, now = choices(request, key)
        return chosen(request, key, choice_step(values, now, by))
    if key not in THRESHOLDS:
        return request
    now_at = getattr(request.caption, f"{key}_threshold")
    value = round((now_at if now_at is not None else request.caption.thresh) / STEP + by) * STEP
    if now_at is not None and now_at > 1:
        value = 1.0 if by < 0 else OFF
    return _caption(request, **{f"{key}_threshold": OFF if value > 1 else max(STEP, round(value, 2))})


def _caption(request: TagRequest, **values: Any) -> TagRequest:
    return replace(request, caption=replace(request.caption, **values))


def _number(text: str) -> float:
    if text.lower() in {"off", "no", ""}:
        return OFF
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value <= OFF:
        raise UserError(f"{text!r} is not a threshold", "Write a number between 0 and 1, or off.")
    return value
