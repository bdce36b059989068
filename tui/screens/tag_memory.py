"""The Tag screen's options of each workspace between two starts: one small file in the user's state folder.

Values only: a model is a repository or a folder, never a program. What cannot be read counts as not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from core.problems import UserError
from core.tagging.options import CaptionOptions, TagRequest
from tui.screens import tag_values

VERSION = 1
_NOT_KEPT = frozenset(
    {"target", "trigger", "caption", "force_download", "from_scores", "fresh", "dry_run", "detach", "json"}
)
"""What belongs to a dataset, and what is asked for once."""
_KINDS: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    "str": (str,),
    "float": (float, int),
    "int": (int,),
    "None": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of a workspace."""

    options: Mapping[str, Any] = field(default_factory=dict)
    caption: Mapping[str, Any] = field(default_factory=dict)
    triggers: Mapping[str, str | None] = field(default_factory=dict)
    """Dataset → the trigger that was typed for it."""
    tagger: str | None = None
    """The model of the settings at that time: another one since then comes before the remembered one."""

    def request(self, fallback: TagRequest) -> TagRequest:
        """`fallback` with what is remembered; values of a wrong kind are left out."""
        values = _usable(TagRequest, self.options)
        if self.tagger != fallback.model:
            values.pop("model", None)
        trigger = self.triggers.get(fallback.target, fallback.trigger)
        found = replace(
            fallback,
            caption=replace(fallback.caption, **_usable(CaptionOptions, self.caption)),
            trigger=trigger,
            **values,
        )
        try:
            tag_values.check(found)
        except UserError:
            return fallback
        is_known = all(tag_values.value_of(found, key) in values for key, values in tag_values.CHOICES.items())
        return found if is_known else fallback


def kept_file(workspace: Path) -> Path:
    """Where the options of a workspace (its root) are kept."""
    from core.settings import state_dir

    name = hashlib.blake2b(str(workspace.absolute()).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return state_dir() / "tagging" / f"{name}.json"


def recall(workspace: Path) -> Kept:
    """What is remembered; nothing when there is no such file or it is of a newer version."""
    from core.files import read_json

    data = read_json(kept_file(workspace)) or {}
    if data.get("version") != VERSION:
        return Kept()
    parts = {name: data.get(name) for name in ("options", "caption", "triggers")}
    found: dict[str, Any] = {name: part if isinstance(part, dict) else {} for name, part in parts.items()}
    tagger = data.get("tagger")
    triggers = {name: word for name, word in found["triggers"].items() if word is None or isinstance(word, str)}
    return Kept(found["options"], found["caption"], triggers, tagger if isinstance(tagger, str) else None)


def remember(workspace: Path, request: TagRequest, before: Kept, tagger: str, usual: str | None) -> Kept:
    """Keep the options of `request`; `usual` is the trigger that its dataset has without anybody typing one."""
    from core.files import write_json

    triggers = dict(before.triggers)
    triggers.pop(request.target, None)
    if request.trigger != usual:
        triggers[request.target] = request.trigger
    options = {item.name: getattr(request, item.name) for item in fields(request) if item.name not in _NOT_KEPT}
    kept = Kept(options, asdict(request.caption), triggers, tagger)
    path = kept_file(workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"version": VERSION, "workspace": str(workspace)} | asdict(kept))
    return kept


def _usable(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for item in fields(kind):
        if item.name in values and item.name not in _NOT_KEPT:
            value = values[item.name]
            written = str(item.type)
            if written.startswith("tuple["):
                inner = _KINDS[written.removeprefix("tuple[").partition(",")[0]]
                if isinstance(value, list | tuple) and all(isinstance(each, inner) for each in value):
                    found[item.name] = tuple(value)
            elif any(type(value) in _KINDS[word] for word in written.split(" | ")):
                found[item.name] = value
    return found
