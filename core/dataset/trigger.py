"""The trigger word as the first tag of every caption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.dataset.captions import decode, join, read_bytes, trigger_tags, with_trigger
from core.dataset.edits import Edit, EditGroup, Journal
from core.dataset.model import Dataset
from core.dataset.scan import open_dataset
from core.problems import Problem, Severity, UserError
from core.text import count_of
from core.workspace import Workspace


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """How many caption files were changed and how many were right already; `group` is None when none was changed."""

    changed: int
    unchanged: int
    group: EditGroup | None
    problems: tuple[Problem, ...]


def set_trigger(workspace: Workspace, dataset: Dataset | str, word: str) -> TriggerResult:
    """Make `word` (one tag, or several separated by commas) the first tags of every caption, as one undoable group.

    Images without a caption file get none; a caption that is not UTF-8 is left as it is: both are told in `problems`.
    Raises UserError when the word is empty or there is no such dataset.
    """
    tags = trigger_tags(word)
    whole = open_dataset(workspace, dataset) if isinstance(dataset, str) else dataset
    problems: list[Problem] = []
    edits: list[Edit] = []
    unchanged = 0
    missing = 0
    seen: set[Path] = set()
    for item in whole.items:
        if item.caption_path in seen:  # x.png and x.jpg share one caption
            continue
        seen.add(item.caption_path)
        try:
            before = read_bytes(item.caption_path)
            text = "" if before is None else decode(before, item.caption_path)
        except UserError as error:
            why = error.message.replace(f" {item.caption_path}", "")
            message = f"is left as it is: {why[:1].lower()}{why[1:]}"
            problems.append(Problem(Severity.ERROR, "KT120", str(item.caption_path), message, error.hint))
            continue
        if before is None:
            missing += 1
            continue
        after = with_trigger(text, word).encode("utf-8")
        if after == before:
            unchanged += 1
        else:  # a byte order mark counts: sd-scripts would read it as part of the first tag
            edits.append(Edit(item.caption_path, before, after))
    if missing:
        problems.append(
            Problem(
                Severity.WARNING,
                "KT121",
                str(whole.path),
                f"{count_of(missing, 'image')} without a caption file got no trigger word",
                f"Tag them first: kohya-tui tag {whole.name}",
            )
        )
    if not edits:
        return TriggerResult(0, unchanged, None, tuple(problems))
    group = Journal(workspace).apply(f"Trigger word {join(tags)} in {whole.name}", edits, kind="trigger")
    problems.extend(
        Problem(Severity.WARNING, "KT122", str(conflict.path), conflict.reason, "Run the command again.")
        for conflict in group.conflicts
    )
    return TriggerResult(group.files, unchanged, group if group.id else None, tuple(problems))
