"""The Tag screen's form as lines: every option of the tagger, in groups that fold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.tagging.options import CaptionOptions, TagRequest
from core.text import count_of, human_bytes, printable
from tui.screens.tag_values import CATEGORIES, OFF, attribute, in_force, value_of, word
from tui.theme import Cells
from tui.widgets.form import Field, slider

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel

POLICY_NOTES = {
    "overwrite": "written anew; u takes it back",
    "append": "new tags behind those that are there",
    "skip": "images with a caption are left alone",
    "only-untagged": "images with more than the trigger are left alone",
}
ADAPTIVE_NOTES = {
    "no": "the same threshold for every image",
    "general": "MCut: the widest gap between an image's scores",
    "character": "MCut: the widest gap between an image's scores",
    "both": "MCut: the widest gap between an image's scores",
}
NOTES: Mapping[str, Mapping[str, str]] = {
    "policy": POLICY_NOTES,
    "rating": {"first": "one rating tag leads each caption", "last": "one rating tag ends each caption"},
    "quality": {"first": "where the model has it", "last": "where the model has it"},
    "provider": {
        "auto": "the GPU where it can be used",
        "cuda": "NVIDIA; says why when it cannot",
        "tensorrt": "NVIDIA; builds an engine first, minutes",
        "tensorrt-rtx": "NVIDIA's plugin for RTX cards",
        "migraphx": "AMD",
        "rocm": "AMD, older",
        "openvino": "Intel",
        "cpu": "",
    },
    "adaptive": ADAPTIVE_NOTES,
    "order": {
        "auto": "as sd-scripts writes them",
        "model": "as the model lists them",
        "score": "the surest first",
        "name": "by the alphabet",
    },
    "merge": {
        "union": "tags of any model",
        "intersection": "tags of all models",
        "subtract": "of the first, without those of the others",
    },
    "scores": {
        "stored": "unchanged images are not run again",
        "anew": "the model looks at every image again",
        "only": "from stored scores, no model is loaded",
    },
}
TITLES = {
    "target": "Dataset",
    "model": "Model",
    "also": "Further models of the same pass",
    "sets": "Sets of tags that are never written",
    "policy": "What becomes of captions that are there",
    "rating": "Rating",
    "quality": "Quality",
    "provider": "Where the model runs",
    "adaptive": "Adaptive thresholds",
    "order": "Order of the tags",
    "merge": "What becomes of several models' tags",
    "scores": "When the model is asked",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the form says beside the values."""

    datasets: Mapping[str, str] = field(default_factory=dict)
    """Name → a note such as "84 images, 3 without caption"."""
    model: TaggerModel | None = None
    machine: tuple[str, str] | None = None
    """Where the model will run: (words, role), with the role `bad` when that is not what the machine could do."""


Drawn = Callable[[TagRequest, Facts], Sequence[Field]]


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the form under a heading. `told` is what stands beside the heading while it is folded."""

    key: str
    title: str
    fields: Drawn
    told: Callable[[TagRequest], Sequence[str]]


def fields(request: TagRequest, facts: Facts, opened: Collection[str], airy: bool = False) -> list[Field]:
    """The lines of the form; groups that are not in `opened` are one line each. `airy`: blank lines round the open."""
    found = [*_top(request, facts)]
    was_open = True
    for group in GROUPS:
        is_open = group.key in opened
        if airy and (is_open or was_open):
            found.append(Field("", "", [], "blank"))
        was_open = is_open
        told: Cells = [] if is_open else [(" · ".join(group.told(request)), "muted")]
        found.append(Field(f"group:{group.key}", group.title, told, "group", raw="▾" if is_open else "▸"))
        if is_open:
            found += group.fields(request, facts)
    return found


def fitting(rows: int, request: TagRequest) -> tuple[frozenset[str], bool]:
    """The groups that may be open where the form has so many rows, the important ones first; and whether there is room
    for blank lines, too.
    """
    facts = Facts()
    opened = frozenset({"thresholds"})
    airy = len(fields(request, facts, opened, airy=True)) <= rows
    for key in ("cleaning", "tags", "other", "files", "machine", "models"):
        if len(fields(request, facts, opened | {key}, airy)) <= rows:
            opened |= {key}
    return opened, airy


def _top(request: TagRequest, facts: Facts) -> list[Field]:
    return [
        Field("target", "Dataset", _dataset(request, facts.datasets), "choice"),
        Field("model", "Model", _model(request, facts.model), "choice"),
        Field("provider", "Runs on", _machine(request, facts.machine), "choice"),
        _choice(request, "policy", "Captions"),
        _text_field("trigger", "Trigger", request.trigger, "none", "first in every caption"),
    ]


def _thresholds(request: TagRequest, facts: Facts) -> list[Field]:
    return [
        _threshold(request, facts, "general", "General"),
        _threshold(request, facts, "character", "Character"),
        _choice(request, "adaptive", "Adaptive"),
    ]


def _other(request: TagRequest, facts: Facts) -> list[Field]:
    caption = request.caption
    return [
        _threshold(request, facts, "thresh", "All others"),
        *(_threshold(request, facts, key, word(key).capitalize()) for key in CATEGORIES[2:]),
        _flag("author", "Author's", caption.author_thresholds, "where none is set here", "not used"),
        _text_field("single", "Single tags", caption.tag_thresholds, "none", "", "such as blush=0.6;smile=0.5"),
    ]


def _tags(request: TagRequest, facts: Facts) -> list[Field]:
    caption = request.caption
    separator = {", ": "comma and blank", "\n": "a new line each"}.get(
        caption.caption_separator, repr(caption.caption_separator)
    )
    shown = caption.caption_separator.replace("\n", "\\n")
    return [
        _flag("underscore", "Underscores", caption.remove_underscore, "become spaces", "are kept"),
        _choice(request, "rating", "Rating"),
        _choice(request, "quality", "Quality"),
        _flag("first", "Characters", caption.character_tags_first, "first", "in place"),
        _flag("expand", "Series", caption.character_tag_expand, "a tag of its own", "stays in the character's name"),
        _text_field("always", "Always first", caption.always_first_tags, "none", "", "such as 1girl, 1boy"),
        _choice(request, "order", "Order"),
        Field("separator", "Separator", [(printable(separator), "text")], raw=shown),
        _flag("compat", "As sd-scripts", caption.sd_compat, "yes, letter for letter", "no"),
    ]


def _cleaning(request: TagRequest, facts: Facts) -> list[Field]:
    caption = request.caption
    return [
        _text_field("undesired", "Undesired", caption.undesired_tags, "none"),
        Field(
            "sets",
            "Sets",
            [(printable(caption.blacklist) or "none", "text")],
            "choice",
            note="" if caption.blacklist else "of tags that nobody wants, by name",
        ),
        _flag("overlap", "Overlaps", caption.drop_overlap, "dropped", "kept", "long hair beside very long hair"),
        _text_field("replacement", "Replace", caption.tag_replacement, "none", "", "old,new;old,new"),
    ]


def _models(request: TagRequest, facts: Facts) -> list[Field]:
    more = ", ".join(name.rpartition("/")[2] for name in request.more_models)
    return [
        Field("also", "And also", [(printable(more) or "no other model", "text")], "choice"),
        _choice(request, "merge", "Merge", "" if request.more_models else "of several models"),
        _choice(request, "scores", "Scores"),
        _text_field("revision", "Revision", request.revision, "newest", "", "a commit or tag of the repository"),
        _text_field("folder", "Model folder", request.model_dir, "cache", "", "where models are kept", kind="path"),
        _flag("force", "Check again", request.force_download, "against the hub, fetch what differs", "no"),
    ]


def _files(request: TagRequest, facts: Facts) -> list[Field]:
    return [
        Field("extension", "Ending", [(printable(request.caption_extension), "text")], raw=request.caption_extension),
        _flag("recursive", "Subfolders", request.recursive, "too", "no"),
        _text_field(
            "output", "Into one file", request.output_path, "no", "instead of caption files", ".json or .jsonl", "path"
        ),
        _flag("frequency", "Frequencies", request.frequency_tags, "listed in the log", "no"),
        _flag("debug", "By kind", request.caption.debug, "each image's tags in the log", "no"),
    ]


def _machine_fields(request: TagRequest, facts: Facts) -> list[Field]:
    vram = "" if request.vram_limit is None else f"{request.vram_limit:g}"
    devices = ",".join(map(str, request.devices))
    return [
        _text_field("batch", "Batch", _number(request.batch_size), "by device"),
        _text_field("readers", "Readers", _number(request.workers), "one per core"),
        _text_field("threads", "Threads", _number(request.threads), "one per core", "", "of the model on the CPU"),
        _text_field("devices", "GPUs", devices, "the first", "share the images", "by number, such as 0,1"),
        _text_field("vram", "VRAM limit", vram, "none", "GB of each GPU", "in GB"),
        _flag("fp16", "Half precision", request.fp16, "on the GPU; the run says what it changes", "no"),
        _flag("gpu", "Require GPU", request.require_gpu, "fail rather than use the CPU", "no"),
    ]


def _told_thresholds(request: TagRequest) -> list[str]:
    caption = request.caption
    return [f"general {_shown(caption, 'general')}", f"character {_shown(caption, 'character')}"]


def _told_other(request: TagRequest) -> list[str]:
    caption = request.caption
    told = [f"all others {_number_of(caption.thresh)}"]
    told += [
        f"{word(key)} {_shown(caption, key)}" for key in CATEGORIES[2:] if getattr(caption, attribute(key)) is not None
    ]
    own = sum(bool(entry.strip()) for entry in caption.tag_thresholds.split(";"))
    told += ["the author's"] * caption.author_thresholds
    return told + ([count_of(own, "single tag")] if own else [])


def _told_tags(request: TagRequest) -> list[str]:
    caption = request.caption
    told = ["spaces" if caption.remove_underscore else "underscores"]
    told += [f"{key} {value}" for key in ("rating", "quality") if (value := value_of(request, key)) != "no"]
    told += ["characters first"] * caption.character_tags_first
    told += [f"by {caption.tag_order}"] * (caption.tag_order != "auto")
    return told + ["as sd-scripts"] * caption.sd_compat


def _told_cleaning(request: TagRequest) -> list[str]:
    caption = request.caption
    undesired = sum(bool(tag.strip()) for tag in caption.undesired_tags.split(","))
    told = [f"{undesired} undesired"] if undesired else []
    told += [printable(caption.blacklist)] if caption.blacklist else []
    told += ["no overlaps"] * caption.drop_overlap
    return told + ["replacements"] * bool(caption.tag_replacement) or ["nothing"]


def _told_models(request: TagRequest) -> list[str]:
    told = [f"{len(request.more_models) + 1}, {request.caption.merge}"] if request.more_models else ["one"]
    told += [f"scores {value_of(request, 'scores')}"]
    return told + ["checked again"] * request.force_download


def _told_files(request: TagRequest) -> list[str]:
    told = [printable(request.caption_extension)]
    told += ["subfolders too"] * request.recursive
    return told + ([f"into {printable(request.output_path)}"] if request.output_path else [])


def _told_machine(request: TagRequest) -> list[str]:
    told = [f"batch {request.batch_size or 'by device'}"]
    told += [f"GPUs {','.join(map(str, request.devices))}"] if request.devices else []
    told += ["half precision"] * request.fp16
    return told + ["GPU required"] * request.require_gpu


GROUPS = (
    Group("thresholds", "Thresholds", _thresholds, _told_thresholds),
    Group("other", "Other kinds", _other, _told_other),
    Group("tags", "Tags", _tags, _told_tags),
    Group("cleaning", "Cleaning", _cleaning, _told_cleaning),
    Group("models", "Models", _models, _told_models),
    Group("files", "Files", _files, _told_files),
    Group("machine", "Machine", _machine_fields, _told_machine),
)


def group_of(key: str) -> str | None:
    """The group in which a field stands; None for those at the top."""
    request = TagRequest("")
    return next(
        (group.key for group in GROUPS if any(each.key == key for each in group.fields(request, Facts()))), None
    )


def _dataset(request: TagRequest, datasets: Mapping[str, str]) -> Cells:
    if not request.target:
        return [("none yet", "text"), ("   1, then i, brings images in", "accent")]
    return [(printable(request.target), "text"), ("   " + datasets.get(request.target, ""), "muted")]


def _model(request: TagRequest, model: TaggerModel | None) -> Cells:
    name: Cells = [(printable(request.model or ""), "text")]
    if model is None:
        return name
    if model.is_on_disk:
        return [*name, ("   on disk", "good"), (f" · {model.licence}", "muted")]
    size = (
        f"{human_bytes(model.bytes)} to fetch" if model.bytes else "to fetch"
    )  # ahead: a long name leaves ten columns
    gated = " · wants a token" if model.is_gated else ""
    return [*name, (f"   {size}", "caution"), (f"{gated} · {model.licence}", "muted")]


def _machine(request: TagRequest, machine: tuple[str, str] | None) -> Cells:
    return [(request.provider, "text"), *([] if machine is None else [("   " + machine[0], machine[1])])]


def _choice(request: TagRequest, key: str, label: str, note: str | None = None) -> Field:
    value = value_of(request, key)
    return Field(key, label, [(value, "text")], "choice", note=NOTES[key].get(value, "") if note is None else note)


def _flag(key: str, label: str, is_on: bool, yes: str, no: str, note: str = "") -> Field:
    return Field(key, label, [(yes if is_on else no, "text")], "flag", note=note)


def _text_field(
    key: str, label: str, value: str | None, none: str, note: str = "", when_empty: str = "", kind: str = "text"
) -> Field:
    cells: Cells = [(printable(value) if value else none, "text")]
    said = note if value else when_empty
    return Field(key, label, cells, "path" if kind == "path" else "text", raw=value or "", note=said)


def _threshold(request: TagRequest, facts: Facts, key: str, label: str) -> Field:
    caption = request.caption
    adaptive = (key == "general" and caption.general_mcut) or (key == "character" and caption.character_mcut)
    own = getattr(caption, attribute(key))
    shown = in_force(caption, key)
    if adaptive and shown <= 1:
        return Field(key, label, [("adaptive", "accent")], raw=_number_of(shown), note="of each image (MCut)")
    if own is None:
        model = facts.model
        author = (model.thresholds.get(word(key)) or model.threshold) if model is not None else None
        if caption.author_thresholds and author:
            return Field(key, label, [(f"{author:.2f} ", "muted"), (slider(author), "muted")], note="its author's")
        cells: Cells = [(f"{_number_of(shown):<5}", "muted"), (slider(min(1.0, shown)), "muted")]
        return Field(key, label, cells, note="as all others")
    if shown > 1:
        return Field(key, label, [("off  ", "text"), (slider(1.0), "muted")], raw="off", note="never written")
    return Field(key, label, [(f"{shown:.2f} ", "text"), (slider(shown), "accent")], raw=f"{shown:g}")


def _shown(caption: CaptionOptions, key: str) -> str:
    if (key == "general" and caption.general_mcut) or (key == "character" and caption.character_mcut):
        return "adaptive"
    return _number_of(in_force(caption, key))


def _number_of(value: float) -> str:
    return "off" if value > 1 or value >= OFF else f"{value:.2f}"


def _number(value: int | None) -> str | None:
    return None if value is None else str(value)
