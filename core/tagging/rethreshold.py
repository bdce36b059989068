"""Scores and captions of one dataset in memory, so that other thresholds are answered while a slider moves.

A caption is a set of tags here: `image * width + tag` in one sorted array for all images, tags numbered by their key.
What the options do to a set is done to these numbers, by the thresholds and spellings that the captioners themselves
use; where a caption is more than a set (another separator than the comma), the captions are written out and read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.dataset.captions import decode, read_bytes, tag_key, trigger_tags
from core.problems import UserError
from core.tagging.captioning import Captioner
from core.tagging.cleaning import check_options
from core.tagging.labels import Category
from core.tagging.listing import caption_path, find_images, last_of_each, wanted
from core.tagging.merging import PassCaptioner
from core.tagging.options import APPENDING, CaptionOptions, TagRequest
from core.tagging.preview import LIMIT, Preview, TagChange
from core.tagging.score_table import ScoreTable, shared
from core.tagging.scores import model_key, read_table, scores_folder
from core.tagging.tagsets import Codes, Tagbook, TagSets, Vocabulary, ascending, differences
from core.tagging.thresholds import author_thresholds
from core.tagging.writing import CaptionFiles

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel
    from core.workspace import Workspace


class Rethreshold:
    """What is known of the images of a request. `preview` may be asked from one thread at a time."""

    def __init__(
        self,
        workspace: Workspace | None,
        request: TagRequest,
        models: Sequence[TaggerModel],
        images: Sequence[Path],
        tables: Sequence[ScoreTable],
    ) -> None:
        self._workspace = workspace
        self._asked = _asked(request)
        self._models = tuple(models)
        self._all = tuple(images)
        self._tables = tuple(tables)
        self._scored = self._tables[0].images
        self._paths = [caption_path(image, request.caption_extension) for image in self._scored]
        self._writers = last_of_each(images, request.caption_extension)
        self._book = Tagbook()
        self._captioners: tuple[Captioner, ...] = ()
        self._vocabularies: dict[int, Vocabulary] = {}
        self._included: dict[tuple[str, tuple[str, ...]], tuple[NDArray[np.bool_], int]] = {}
        self._now = self._lines = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        """Images and the tags on the first line of their captions; those on all lines, where there are several."""
        self._is_text = np.ones(len(self._scored), np.bool_)
        self._is_writer = np.ones(len(self._scored), np.bool_)

    @classmethod
    def open(
        cls, workspace: Workspace | None, request: TagRequest, models: Sequence[TaggerModel], stop: Callable[[], bool]
    ) -> Rethreshold | None:
        """As `preview.open_preview`."""
        images = _images(workspace, request)
        if not images or len(images) > LIMIT or not all(model.is_on_disk for model in models):
            return None
        tables = []
        for model in models:
            table = _table(workspace, request, model, images, stop)
            if table is None or not table.images:
                return None
            tables.append(table)
        tables = shared(tables)
        if not tables[0].images:
            return None
        found = cls(workspace, request, models, images, tables)
        return found if found.read_captions(stop) else None

    def is_for(self, request: TagRequest, models: Sequence[TaggerModel]) -> bool:
        """Whether `request` is about the same images and scores, so that no file need be read again."""
        return self._asked == _asked(request) and self._models == tuple(models)

    def read_captions(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Read the captions as they are now, after somebody changed some. False when `stop` said so."""
        now, lines = TagSets(self._book), TagSets(self._book)
        for at, (image, path) in enumerate(zip(self._scored, self._paths, strict=True)):
            if at % 200 == 0 and stop():
                return False
            self._is_writer[at] = self._writers[path] == image
            text, self._is_text[at] = _read(path)
            now.add(at, text)
            further = text.splitlines()
            if len(further) > 1:
                lines.add(at, *further)
        self._now, self._lines = now.arrays(), lines.arrays()
        self._included.clear()
        return True

    def preview(self, request: TagRequest) -> Preview:
        """What a run of `request` would change; `is_for` says whether this object can tell.

        Raises UserError for options that cannot be.
        """
        options = request.caption
        check_options(options)
        captioners = self._retuned(options)
        is_in, unscored = self._chosen(request)
        if _is_set(request):
            new = self._sets(captioners, request)
        else:
            new = self._written(PassCaptioner(captioners, options.merge), request)
        width = max(1, len(self._book.spelled))  # now every tag has its number
        may = is_in & self._is_writer
        if request.policy in APPENDING:
            may &= self._is_text
        now = self._now[0] * width + self._now[1]
        then = new(width)
        now, then = now[may[now // width]], then[may[then // width]]
        gained, lost = differences(now, then)
        before, after = (np.bincount(codes % width, minlength=width) for codes in (now, then))
        spelled = self._book.spelled
        changes = [
            TagChange(spelled[at], int(before[at]), int(after[at])) for at in np.flatnonzero(before != after).tolist()
        ]
        changes.sort(key=lambda each: (-abs(each.change), each.tag))
        touched = len(ascending(np.concatenate([gained, lost]) // width))
        return Preview(
            int(is_in.sum()),
            unscored,
            tuple(changes),
            len(gained),
            len(lost),
            touched,
            all(table.covers(each.lowest) for each, table in zip(captioners, self._tables, strict=True)),
            self._scored,
            tuple(spelled),
            gained,
            lost,
            before,
            after,
        )

    def caption(self, request: TagRequest, image: Path) -> str | None:
        """The very text that a run of `request` would write for one image; None when it would leave it as it is.

        Raises UserError for a caption that cannot be appended to, and for options that cannot be.
        """
        if image not in self._scored:
            return None
        captioners = self._retuned(request.caption)
        at = self._scored.index(image)
        tags = PassCaptioner(captioners, request.caption.merge).tags([table.row(at) for table in self._tables])
        recorder = _Recorder()
        self._files(recorder, request).write(image, tags.tags, None)
        return recorder.texts.get(caption_path(image, request.caption_extension))

    def writes(self, request: TagRequest, image: Path) -> bool:
        """Whether a run of `request` has scores of this image and writes its caption: its policy takes it, and no later
        image of the same stem does.
        """
        is_in, _ = self._chosen(request)
        return any(is_in[at] and self._is_writer[at] for at, each in enumerate(self._scored) if each == image)

    def threshold(self, request: TagRequest, tag: str) -> tuple[str, float] | None:
        """The model's own name of a tag that captions hold, and the threshold in force for it (above 1: never
        written), the first model's before the others'. None for a tag that no threshold decides.

        Raises UserError for options that cannot be.
        """
        key = tag_key(tag)
        for captioner, table in zip(self._retuned(request.caption), self._tables, strict=True):
            floors = captioner.thresholds.floors
            for at, label in enumerate(captioner.labels):
                if np.isfinite(floors[at]) and any(tag_key(part) == key for part in label.parts):
                    return table.labels.names[at], float(floors[at])
        return None

    def _retuned(self, options: CaptionOptions) -> tuple[Captioner, ...]:
        if self._captioners:
            self._captioners = tuple(each.retuned(options) for each in self._captioners)
        else:
            self._captioners = tuple(
                Captioner(
                    table.labels,
                    options,
                    by_probability=model.format.by_probability,
                    thresholds=author_thresholds(model),
                )
                for model, table in zip(self._models, self._tables, strict=True)
            )
        return self._captioners

    def _chosen(self, request: TagRequest) -> tuple[NDArray[np.bool_], int]:
        """Which of the scored images the policy tags, and how many others it would."""
        words = tuple(request.trigger_words(self._workspace))
        kept = self._included.get((request.policy, words))
        if kept is None:
            chosen = set(wanted(self._all, request.policy, request.caption_extension, words))
            is_in = np.array([image in chosen for image in self._scored], np.bool_)
            kept = is_in, len(chosen) - int(is_in.sum())
            self._included[request.policy, words] = kept
        return kept

    def _vocabulary(self, at: int, captioner: Captioner) -> Vocabulary:
        found = self._vocabularies.get(at)
        if found is None or found.labels is not captioner.labels:
            found = self._vocabularies[at] = Vocabulary(captioner, self._tables[at], self._book)
        return found

    def _sets(self, captioners: Sequence[Captioner], request: TagRequest) -> Callable[[int], Codes]:
        """The captions of all images as sets, once it is known how many tags there are."""
        options, trigger = request.caption, request.trigger
        books = [self._vocabulary(at, captioner) for at, captioner in enumerate(captioners)]
        first = [self._book.number(tag) for tag in trigger_tags(trigger)] if trigger else []

        def made(width: int) -> Codes:
            found: list[tuple[Codes, Codes]] = []
            for captioner, book, table in zip(captioners, books, self._tables, strict=True):
                passing = captioner.thresholds.passing_of(table)
                labels, owners = table.indices[passing], table.owners[passing]
                is_general = book.is_general[labels] if options.drop_overlap else np.zeros(len(labels), np.bool_)
                general = book.numbers(labels[is_general], owners[is_general], width)
                found.append((ascending(book.numbers(labels, owners, width)), ascending(general)))
            tags, general = found[0]
            for others, others_general in found[1:]:
                if options.merge == "union":
                    new = np.setdiff1d(others, tags, True)
                    general = ascending(np.concatenate([general, np.intersect1d(others_general, new, True)]))
                    tags = ascending(np.concatenate([tags, new]))
                elif options.merge == "intersection":
                    tags = np.intersect1d(tags, others, True)
                else:
                    tags = np.setdiff1d(tags, others, True)
            if options.drop_overlap:
                tags = np.setdiff1d(tags, self._implied(np.intersect1d(general, tags, True), width), True)
            extra = self._placed(captioners, options, width)
            every = np.arange(len(self._scored), dtype=np.int64) * width
            extra += [every + number for number in first]
            if request.policy in APPENDING:
                extra += [owners * width + numbers for owners, numbers in (self._now, self._lines)]
            return ascending(np.concatenate([tags, *extra])) if extra else tags

        return made

    def _implied(self, general: Codes, width: int) -> Codes:
        """Those of the general tags that another of the same image implies."""
        specific, implied = self._book.implied()
        tag, image = general % width, general // width
        starts, ends = np.searchsorted(specific, tag), np.searchsorted(specific, tag, "right")
        counts = ends - starts
        at = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        codes = np.repeat(image, counts) * width + implied[at]
        return np.intersect1d(ascending(codes), general, True)

    def _placed(self, captioners: Sequence[Captioner], options: CaptionOptions, width: int) -> list[Codes]:
        """The ratings and qualities that are written: of each image that of the first model that gives one."""
        found: list[Codes] = []
        for category, is_asked in (
            (Category.RATING, options.use_rating_tags or options.use_rating_tags_as_last_tag),
            (Category.QUALITY, options.use_quality_tags or options.use_quality_tags_as_last_tag),
        ):
            if not is_asked:
                continue
            number = np.full(len(self._scored), -1, np.int64)
            for at, (captioner, table) in enumerate(zip(captioners, self._tables, strict=True)):
                columns = captioner.placed[category]
                if not len(columns):
                    continue
                scores = table.dense(columns).astype(np.float64)
                if captioner.by_probability:
                    has_parts = np.array([bool(captioner.labels[index].parts) for index in columns], np.bool_)
                    scores[:, ~has_parts] = -np.inf
                    scores[scores < captioner.thresholds.placed_floor] = -np.inf
                best = scores.argmax(1)
                theirs = self._vocabularies[at].one[columns][best]
                theirs[np.isneginf(scores.max(1))] = -1
                number = np.where(number >= 0, number, theirs)
            has = np.flatnonzero(number >= 0)
            found.append(has.astype(np.int64) * width + number[has])
        return found

    def _written(self, passed: PassCaptioner, request: TagRequest) -> Callable[[int], Codes]:
        """The captions as the run writes them, image by image: 0.1 ms each."""
        recorder = _Recorder()
        files = self._files(recorder, request)
        sets = TagSets(self._book)
        for at, (image, tags) in enumerate(zip(self._scored, passed.each(self._tables), strict=True)):
            with contextlib.suppress(UserError):  # a caption that is not UTF-8: the run names it and leaves it
                files.write(image, tags.tags, None)
            text = recorder.texts.pop(self._paths[at], None)
            sets.add(at, _read(self._paths[at])[0] if text is None else text)
        owners, numbers = sets.arrays()
        return lambda width: owners * width + numbers

    def _files(self, recorder: _Recorder, request: TagRequest) -> CaptionFiles:
        return CaptionFiles(
            recorder, request.caption, self._writers, request.caption_extension, request.policy, request.trigger
        )


class _Recorder:
    """Takes what a run would write."""

    def __init__(self) -> None:
        self.texts: dict[Path, str] = {}

    def write(self, path: Path, data: bytes | str, before: bytes | EllipsisType | None = ...) -> None:
        self.texts[path] = data if isinstance(data, str) else data.decode("utf-8")

    def together(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def _read(path: Path) -> tuple[str, bool]:
    """The caption in a file, and whether it is text at all."""
    try:
        return decode(read_bytes(path) or b"", path), True
    except UserError:
        return "", False


def _asked(request: TagRequest) -> TagRequest:
    """What of a request decides which images, captions and scores are looked at."""
    return TagRequest(
        request.target,
        CaptionOptions(sd_compat=request.caption.sd_compat),
        caption_extension=request.caption_extension,
        recursive=request.recursive,
        fp16=request.fp16,
    )


def _is_set(request: TagRequest) -> bool:
    """Whether a caption that `request` writes is no more than its tags, so that it need not be written to be known."""
    options = request.caption
    has_line_ends = any(end in options.caption_separator + (options.tag_replacement or "") for end in "\r\n")
    is_old_append = options.sd_compat and request.policy in APPENDING
    return options.caption_separator.strip() == "," and not has_line_ends and not is_old_append


def _images(workspace: Workspace | None, request: TagRequest) -> list[Path]:
    folders = request.run_spec(workspace)["folders"]
    return [
        image
        for folder in folders
        for image in find_images(Path(folder), recursive=request.recursive, sd_compat=request.caption.sd_compat)
    ]


def _table(
    workspace: Workspace | None,
    request: TagRequest,
    model: TaggerModel,
    images: Sequence[Path],
    stop: Callable[[], bool],
) -> ScoreTable | None:
    """The model's scores, made in the way that the request asks for or else in another: only pictures of 16 bits (a
    thousandth of a score with half precision) differ.
    """
    ways = [(clip, half) for clip in (False, True) for half in (False, True)]
    ways.sort(key=lambda way: way != (request.caption.sd_compat, request.fp16))
    for clip, half in ways:
        table = read_table(scores_folder(workspace), model_key(model, clip_16_bit=clip, fp16=half), images, stop)
        if table is not None and table.images:
            return table
    return None
