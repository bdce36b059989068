"""Where captions go: caption files through the journal, or one .json / .jsonl file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import EllipsisType
from typing import NamedTuple, Protocol

from core.dataset.captions import decode, read_bytes, tag_key, trigger_tags
from core.tagging.captioning import merge_existing
from core.tagging.listing import caption_path
from core.tagging.options import APPENDING, CaptionOptions


class Group(Protocol):
    """What is needed of an open group of the journal (core.dataset.edits.OpenGroup)."""

    def write(self, path: Path, data: bytes | str, before: bytes | EllipsisType | None = ...) -> object:
        """Record and replace one file; `before` is what was read of it just now."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """For many writes one after another."""
        ...


class Nowhere:
    """Stands in for a group of the journal in a dry run."""

    def write(self, path: Path, data: bytes | str, before: bytes | EllipsisType | None = ...) -> None:
        """Write nothing."""

    def together(self) -> AbstractContextManager[None]:
        """Lock nothing."""
        return nullcontext()


class Written(NamedTuple):
    """A caption file's content before, the text that it has now, and the tags that this text is made of."""

    old: bytes
    text: str
    tags: Sequence[str]


class CaptionFiles:
    """Writes each image's tags into its caption file."""

    def __init__(
        self,
        group: Group,
        options: CaptionOptions,
        writers: dict[Path, Path],
        extension: str,
        policy: str,
        trigger: str | None,
    ) -> None:
        self._group = group
        self._options = options
        self._own = {image: caption for caption, image in writers.items()}
        """The caption of each image that writes one: of several with one stem it is the last."""
        self._extension = extension
        self._appends = policy in APPENDING  # a trigger word that stands there stays
        self._trigger = trigger

    def write(self, image: Path, tags: Sequence[str], size: tuple[int, int] | None) -> Written | None:
        """What was written; None when nothing changes.

        Raises UserError when the file cannot be written, or appended to (not UTF-8): it stays as it is then.
        """
        path = self._own.get(image)
        if path is None:  # sd-scripts appends the tags of both
            if not (self._appends and self._options.sd_compat):
                return None
            path = caption_path(image, self._extension)
        old = read_bytes(path)
        if self._appends and old:
            tags = merge_existing(decode(old, path), tags, self._options)
        tags = with_trigger(tags, self._trigger)
        text = self._options.caption_separator.join(tags) + "\n"
        data = text.encode()
        if data == old:
            return None
        self._group.write(path, data, old)
        return Written(old or b"", text, tags)

    def together(self) -> AbstractContextManager[None]:
        """For many images one after another (OpenGroup.together)."""
        return self._group.together()


class CaptionTable:
    """Collects captions for `--output_path`; `finish` writes the file as sd-scripts does, keyed by the paths as
    given. With `append` the tags of the caption files, which stay as they are, come first.

    The rows are kept in a file of the run until then, so that a killed run leaves what it had.
    """

    def __init__(
        self,
        target: Path,
        rows: Path,
        options: CaptionOptions,
        names: dict[Path, str],
        extension: str,
        policy: str,
        trigger: str | None,
    ) -> None:
        self._target = target
        self._rows_path = rows
        self._rows = rows.open("a", encoding="utf-8")
        self._options = options
        self._names = names
        self._extension = extension
        self._appends = policy in APPENDING
        self._trigger = trigger

    def write(self, image: Path, tags: Sequence[str], size: tuple[int, int] | None) -> None:
        """Keep the row. Raises UserError when the caption file, whose tags are wanted, is not UTF-8."""
        path = caption_path(image, self._extension)
        if self._appends and (old := read_bytes(path)):
            tags = merge_existing(decode(old, path), tags, self._options)
        caption = self._options.caption_separator.join(with_trigger(tags, self._trigger))
        entry = {"image_path": self._names[image], "caption": caption, "image_size": list(size or ())}
        self._rows.write(json.dumps(entry) + "\n")

    def together(self) -> AbstractContextManager[None]:
        """For many images one after another: nothing is locked here."""
        return nullcontext()

    def flush(self) -> None:
        self._rows.flush()

    def finish(self, group: Group) -> None:
        """Write the target file: JSON lines for a name in .jsonl, else one JSON object."""
        self._rows.close()
        lines = self._rows_path.read_text("utf-8")
        if self._target.suffix == ".jsonl":
            group.write(self._target, lines)  # plain ASCII
            return
        entries = map(json.loads, lines.splitlines())
        table = {row["image_path"]: {"tags": row["caption"], "image_size": row["image_size"]} for row in entries}
        text = json.dumps(table, ensure_ascii=False, indent=4)
        group.write(self._target, text.encode("utf-8", "surrogateescape"))  # file names need not be UTF-8


def with_trigger(tags: Sequence[str], word: str | None) -> list[str]:
    """`tags` with the trigger word first, once, compared as a tag (core.dataset.captions.with_trigger does it for a
    text).
    """
    if not word:
        return list(tags)
    trigger = trigger_tags(word)
    keys = {tag_key(tag) for tag in trigger}
    return [*trigger, *(tag for tag in tags if tag_key(tag) not in keys)]
