"""What a tag run does with the scores of each image: they are stored, made a caption, and counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from core.dataset.captions import CaptionError, decode, first_line
from core.problems import UserError
from core.tagging.difference import Difference
from core.tagging.results import CaptionChange
from core.text import count_of

if TYPE_CHECKING:
    from core.tagging.captioning import Tags
    from core.tagging.labels import LabelSet
    from core.tagging.models import TaggerModel
    from core.tagging.pipeline import Tagged
    from core.tagging.reading import Rows
    from core.tagging.results import Results
    from core.tagging.score_store import ScoreStore
    from core.tagging.writing import CaptionFiles, CaptionTable, Written

_GIVES_UP_AFTER = 3
"""Failed writes in a row that end the run: the disk is full or gone, and every further image would fail, too."""


class Stores:
    """The score files of the models of a pass, asked and filled together."""

    def __init__(self, folder: Path, models: Sequence[tuple[str, TaggerModel, LabelSet]]) -> None:
        """`models`: the key of each score file, the model, its labels."""
        from core.tagging.score_store import ScoreStore

        self._stores: list[ScoreStore] = [ScoreStore(folder, key, model.name, labels) for key, model, labels in models]
        self._stamps: dict[Path, str] = {}

    def expect(self, images: Iterable[Path]) -> None:
        """Take time and size of the images before they are read: one that changes meanwhile is not taken for new."""
        from core.tagging.scores import stamp_of

        self._stamps = {image: stamp_of(image) for image in images}

    def lookup(self, content: str) -> Rows | None:
        """One row a model; None when one of them never saw this picture."""
        rows = []
        for store in self._stores:
            row = store.get(content)
            if row is None:
                return None
            rows.append(row)
        return tuple(rows)

    def keep(self, items: Iterable[Tagged]) -> None:
        """Store what the models said, at once for all: a kill after this costs no second look at these images."""
        for item in items:
            if item.scores is None or not item.content:
                continue
            for store, row in zip(self._stores, item.scores, strict=True):
                if not item.is_known:
                    store.add(item.content, row)
                if item.is_turned:
                    store.turned(item.content)
            self.place(item.path, item.content)
        for store in self._stores:
            store.save()

    def place(self, image: Path, content: str) -> None:
        """Remember that an expected image is that picture, of which there are scores."""
        if stamp := self._stamps.get(image):
            for store in self._stores:
                store.place(image, stamp, content)

    def turned_of(self, images: Iterable[Path]) -> list[Path]:
        """Those of `images` that viewers turn, as far as it was seen when they were looked at."""
        return self._stores[0].turned_of(images)

    @property
    def failure(self) -> str | None:
        return next((store.failure for store in self._stores if store.failure), None)

    def close(self) -> None:
        for store in self._stores:
            store.close()


class Recorder:
    """Writes each caption and its line of the results; what is to be told at the end gathers here."""

    def __init__(
        self,
        output: CaptionFiles | CaptionTable,
        results: Results,
        separator: str,
        say: Callable[[str], None],
        *,
        is_dry: bool = False,
    ) -> None:
        """`is_dry`: nothing is written, and the results say which tags every caption would get and lose."""
        self._output = output
        self._results = results
        self._splitter = separator.strip() or separator
        self._say = say
        self._is_dry = is_dry
        self._failed_writes = 0
        self._difference = Difference()
        self._turned: list[Path] = []
        self._met: set[str] = set()
        self._split_up: set[str] = set()

    def failed(self, path: Path, reason: str) -> None:
        """An image that cannot be tagged."""
        self._results.failed(path, reason)
        self._say(f"FAILED {reason}")

    def tagged(self, path: Path, tags: Tags, size: tuple[int, int] | None = None, *, is_known: bool = False) -> None:
        """Write the caption of one image. Raises UserError after several failed writes one after another."""
        try:
            written = self._output.write(path, tags.tags, size)
        except UserError as error:
            is_encoding = isinstance(error.__cause__, UnicodeDecodeError)  # that file's own fault, not the disk's
            self._failed_writes += not is_encoding
            self.failed(path, error.line)
            if is_encoding or self._failed_writes < _GIVES_UP_AFTER:
                return
            with contextlib.suppress(UserError):
                self._results.save()
            message = f"{self._failed_writes} captions could not be written one after another; the run ends here"
            raise UserError(message, error.hint) from error
        self._failed_writes = 0
        change = change_of(path, written, self._splitter, self._difference) if self._is_dry and written else None
        self._results.tagged(path, tags, is_known=is_known, change=change)
        if not self._met.issuperset(tags.tags):
            self._met.update(tags.tags)
            self._split_up.update(tag for tag in tags.tags if self._splitter in tag)
        for kind, words in tags.groups:
            self._say(f"{path.name}: {kind}: {', '.join(words)}")

    def together(self) -> AbstractContextManager[None]:
        """For many images one after another: one lock for all."""
        return self._output.together()

    def turned(self, path: Path) -> None:
        """Viewers turn this image; the trainer does not."""
        self._turned.append(path)

    def warn(self, target: str, *, can_be_turned: bool) -> None:
        """Say what concerns many images, once."""
        if self._turned:
            names = _some([path.name for path in self._turned])
            remedy = "Save them turned to train on what you see."
            if can_be_turned:
                remedy = f"To train on what you see: kohya-tui upright {target}, and tag again."
            self._say(
                f"Warning: {count_of(len(self._turned), 'image')} would be turned by viewers (EXIF), but not by the "
                f"trainer, and tagged as stored: {names}. {remedy}"
            )
        if self._split_up:
            names = _some(sorted(self._split_up))
            self._say(f"Warning: tags with the separator inside are written as they are, and read as two: {names}")


def change_of(image: Path, written: Written, splitter: str, difference: Difference) -> CaptionChange:
    """The tags that the caption of this image would get and lose."""
    try:
        before = decode(written.old, image)
    except CaptionError:
        before = ""
    tags, line = written.tags, first_line(written.text)
    if splitter != "," or line.count(",") != len(tags) - 1 or len(line) + 1 != len(written.text):
        tags = line.split(",")  # a tag is read as several, or several as one
    return CaptionChange(str(image), *difference.of(before, tags))


def _some(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
