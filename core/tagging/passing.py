"""One pass over the images of a tag run: from stored scores where there are any, through the model for the rest."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from core.files import read_json, write_atomic
from core.problems import UserError
from core.tagging.asked import Job, Stop
from core.tagging.listing import last_of_each
from core.tagging.options import CaptionOptions, caption_options
from core.text import count_of
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.dataset.edits import Journal
    from core.dataset.stream import OpenGroup
    from core.tagging.loading import Loaded
    from core.tagging.merging import PassCaptioner
    from core.tagging.models import TaggerModel
    from core.tagging.pace import Pace
    from core.tagging.pipeline import Lane, Tagged
    from core.tagging.recording import Recorder, Stores
    from core.tagging.results import Results, TagResult
    from core.tagging.writing import CaptionTable

_AT_ONCE = 5_000
"""Images whose stored scores are in memory at the same time (about 6 MB)."""
_TOGETHER = 100
"""Captions that are written under one lock of the workspace: 20 ms or so, in which nobody else can write."""


class Pass:
    """One pass over the images of a job."""

    def __init__(self, job: Job, results: Results, pace: Pace, stop: Stop, say: Callable[[str], None]) -> None:
        self.job, self.results, self.pace, self.stop, self.say = job, results, pace, stop, say
        self.wanted: CaptionOptions = caption_options(job.options)
        self.pause = float(os.environ.get("KOHYA_TUI_DEMO_TAG_SECONDS") or 0)

    def run(self) -> None:
        """Raises UserError for what keeps it from starting or ends it early; what was written until then stays."""
        from core.tagging.loading import find_models
        from core.tagging.scores import FLOOR

        job = self.job
        models = find_models(job.spec, job.workspace, self.say)
        captioner, stores = self._captioner(models)
        if job.options.get("from_scores") and captioner.lowest < FLOOR:
            raise UserError(
                f"Scores under {FLOOR} are not stored, so a threshold of {captioner.lowest:g} needs the model",
                f"Leave out --from-scores, or ask for {FLOOR} at least.",
            )
        with contextlib.ExitStack() as closing:
            closing.callback(stores.close)
            recorder, table, group = self._recorder(closing)
            facts = {"dry_run": True} if group is None else {"group": group.id}
            name = " + ".join(model.name for model in models)
            self.results.begin(total=len(job.images), skipped=job.skipped, model=name, **facts)
            self.stop.is_tagging = True
            rest = list(job.images)
            if not job.options.get("fresh") and table is None:
                rest = self._from_tables(rest, models, captioner, recorder, stores)
            if rest and not self.stop.asked():
                if job.options.get("from_scores"):
                    self._without_model(rest, captioner, recorder, stores)
                else:
                    self._with_model(rest, models, captioner, recorder, stores, table)
            if table is not None and group is not None:
                target = Path(job.options["output_path"])
                is_ours = job.workspace is None or target.is_relative_to(job.workspace.root)
                table.finish(group if is_ours else _Plain())
        if stores.failure:
            self.say(f"Warning: the scores are not kept for later ({stores.failure}); the captions are not affected.")
        recorder.warn(shlex.quote(str(job.spec.get("target"))), can_be_turned=job.workspace is not None)

    def _captioner(self, models: list[TaggerModel]) -> tuple[PassCaptioner, Stores]:
        """How scores become tags, and where they are stored."""
        from core.tagging.captioning import Captioner
        from core.tagging.labels import labels_of
        from core.tagging.merging import PassCaptioner
        from core.tagging.recording import Stores
        from core.tagging.scores import scores_folder
        from core.tagging.thresholds import author_thresholds

        captioners, described = [], []
        for model, key in zip(models, self._keys(models), strict=True):
            if model.labels is None:
                raise UserError(
                    f"The model {model.name} is not on this machine, so it left no scores",
                    "Leave out --from-scores to fetch and run it.",
                )
            labels = labels_of(model)
            captioner = Captioner(
                labels,
                self.wanted,
                by_probability=model.format.by_probability,
                thresholds=author_thresholds(model) if self.wanted.author_thresholds else None,
            )
            if captioner.unknown:
                self.say(
                    f"Warning: {model.name} knows no tag {', '.join(sorted(captioner.unknown))} (--tag-thresholds)."
                )
            captioners.append(captioner)
            described.append((key, model, labels))
        return PassCaptioner(captioners, self.wanted.merge), Stores(scores_folder(self.job.workspace), described)

    def _keys(self, models: list[TaggerModel]) -> list[str]:
        from core.tagging.scores import model_key

        compat, fp16 = self.wanted.sd_compat, bool(self.job.options.get("fp16"))
        return [model_key(model, clip_16_bit=compat, fp16=fp16) for model in models]

    def _recorder(self, closing: contextlib.ExitStack) -> tuple[Recorder, CaptionTable | None, OpenGroup | None]:
        """Where captions go: into files through the journal, into one file, or nowhere."""
        from core.tagging.recording import Recorder
        from core.tagging.writing import CaptionFiles, CaptionTable, Nowhere

        job, options = self.job, self.wanted
        trigger = job.spec.get("trigger")
        if job.options.get("dry_run"):
            writers = last_of_each(list(job.images), job.extension)
            files = CaptionFiles(Nowhere(), options, writers, job.extension, job.policy, trigger)
            return Recorder(files, self.results, options.caption_separator, self.say, is_dry=True), None, None
        from core.dataset.edits import Journal

        # Outside a workspace the images' own folder gets no .kohya-tui: the run's folder keeps the journal.
        journal = Journal(job.workspace or Workspace(job.run_dir))
        group = closing.enter_context(_begin(job, journal, self.say))
        output: CaptionFiles | CaptionTable
        table = None
        if job.options.get("output_path"):
            rows = job.run_dir / "captions.jsonl"
            output = table = CaptionTable(
                Path(job.options["output_path"]), rows, options, job.images, job.extension, job.policy, trigger
            )
        else:
            writers = last_of_each(list(job.images), job.extension)
            output = CaptionFiles(group, options, writers, job.extension, job.policy, trigger)
        return Recorder(output, self.results, options.caption_separator, self.say), table, group

    def _from_tables(
        self,
        images: list[Path],
        models: list[TaggerModel],
        captioner: PassCaptioner,
        recorder: Recorder,
        stores: Stores,
    ) -> list[Path]:
        """Tag the images that did not change since their scores were stored; returns the others.

        No image file is opened. Where a threshold lies under what is stored, all are others.
        """
        from core.tagging.score_table import shared
        from core.tagging.scores import read_table, scores_folder

        folder = scores_folder(self.job.workspace)
        rest: list[Path] = []
        for start in range(0, len(images), _AT_ONCE):
            some = images[start : start + _AT_ONCE]
            tables = [read_table(folder, key, some, self.stop.asked) for key in self._keys(models)]
            known = [table for table in tables if table is not None and table.covers(captioner.lowest)]
            if len(known) < len(models):
                if self.stop.asked():
                    return []
                rest += some
                continue
            known = shared(known)
            here = known[0].images
            if len(here) < len(some):
                present = set(here)
                rest += [image for image in some if image not in present]
            if not here:
                continue
            for image in stores.turned_of(here):
                recorder.turned(image)
            pairs = zip(here, captioner.each(known), strict=True)
            while group := list(islice(pairs, _TOGETHER if self.pause <= 0 else 1)):
                with recorder.together():
                    for image, tags in group:
                        recorder.tagged(image, tags, is_known=True)
                if self._is_cut_short() or self.stop.asked():
                    self.results.save()
                    return []
            self.results.save()
        if len(rest) < len(images):
            number = count_of(len(images) - len(rest), "image")
            self.say(f"{number} tagged from stored scores: unchanged since the model saw them.")
        return rest

    def _without_model(self, images: list[Path], captioner: PassCaptioner, recorder: Recorder, stores: Stores) -> None:
        """`--from-scores` for images that were moved or touched: known by their content, or not at all."""
        from core.tagging.reading import read_content

        stores.expect(images)
        for image in images:
            if self.stop.asked():
                return
            try:
                content = read_content(image)[0]
            except UserError as error:
                recorder.failed(image, error.line)
                continue
            rows = stores.lookup(content)
            if rows is None:
                recorder.failed(image, f"{image} has no stored scores of this model. Tag it without --from-scores")
            else:
                stores.place(image, content)
                recorder.tagged(image, captioner.tags(rows), is_known=True)
        self.results.save()

    def _with_model(
        self,
        images: list[Path],
        models: list[TaggerModel],
        captioner: PassCaptioner,
        recorder: Recorder,
        stores: Stores,
        table: CaptionTable | None,
    ) -> None:
        from core.tagging.engines import physical_cores
        from core.tagging.loading import load_lanes, tell_flips
        from core.tagging.pipeline import tag_images
        from core.tagging.scores import FLOOR
        from core.tagging.session import expected_input

        job, options = self.job, self.job.options
        use_stored = not options.get("fresh") and captioner.lowest >= FLOOR
        stores.expect(images)

        def load() -> list[Lane]:
            lanes = load_lanes(job.spec, models, self.say, self._loaded, self.stop.asked)
            if options.get("fp16") and not self.stop.asked():
                floors = [each.thresholds.floors for each in captioner.captioners]
                tell_flips(
                    lanes[0], models, images, floors, self.say, device=next(iter(options.get("devices") or ()), None)
                )
            return lanes

        self.results.working()
        inputs = [expected_input(model) for model in models]
        batches = tag_images(
            images,
            load,
            batch=options.get("batch_size"),
            threads=options.get("max_data_loader_n_workers") or max(2, physical_cores()),
            clip_16_bit=self.wanted.sd_compat,
            should_stop=self.stop.asked,
            inputs=[form for form in inputs if form is not None] if all(inputs) else None,
            lookup=stores.lookup if use_stored else None,
            pace=self.pace,
        )
        try:
            with contextlib.closing(batches):
                for batch in batches:
                    stores.keep(batch)
                    self._record(batch, captioner, recorder)
                    if table is not None:
                        table.flush()
                    for note in self.pace.take_notes():
                        self.say(note)
                    self.results.pace(self.pace)
                    self.results.save()
        except UserError:
            if not self.stop.asked() or self.pace.images:
                raise  # else the model was broken off while it loaded

    def _record(self, batch: Sequence[Tagged], captioner: PassCaptioner, recorder: Recorder) -> None:
        for item in batch:
            if item.scores is None:
                recorder.failed(item.path, item.error or "unreadable")
                continue
            recorder.tagged(item.path, captioner.tags(item.scores), item.size, is_known=item.is_known)
            if item.is_turned:
                recorder.turned(item.path)
            if self._is_cut_short():
                return

    def _loaded(self, loaded: Loaded) -> None:
        self.results.working()
        self.results.update(provider=loaded.provider, fallback=loaded.fallback)

    def _is_cut_short(self) -> bool:
        """For tests and the demo: time to look at a run, after which a stop leaves out what is finished, too."""
        if self.pause <= 0:
            return False
        self.results.save()
        return self.stop.event.wait(self.pause)


def look(spec: dict[str, Any], say: Callable[[str], None]) -> TagResult:
    """A dry run from stored scores, in the process that asks: nothing is loaded, nothing is written, no run is kept.

    `spec` is the `run_spec` of a request with `dry_run` and `from_scores`. Raises UserError as a run does.
    """
    from core.tagging.claim import claimed
    from core.tagging.pace import Pace
    from core.tagging.results import Results

    # Before numpy is imported: the threads of its matrix products are of no use here, and start with it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    job = Job.of(spec, Path())
    results = Results(None, is_counting=bool(job.options.get("frequency_tags")))
    with claimed(job.folders):
        Pass(job, results, Pace(), Stop(), say).run()
    return results.so_far()


class _Plain:
    """For an output file outside of the workspace: a journal that could write there could write anywhere."""

    def write(self, path: Path, data: bytes | str, before: bytes | EllipsisType | None = ...) -> None:
        write_atomic(path, data)

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()


def _begin(job: Job, journal: Journal, say: Callable[[str], None]) -> OpenGroup:
    """The group of the run: when it was killed before, the same one again, so that one undo takes back both."""
    for left in _killed(job):
        group = journal.resume(left)
        if group is not None:
            say("The last run was killed; this one goes on, and one undo takes back both.")
            return group
    return journal.begin(job.label, "tag")


def _killed(job: Job) -> Iterator[str]:
    """The journal's group of the newest run that was asked for the same and came to no end."""
    runs = sorted((path for path in job.run_dir.parent.iterdir() if path != job.run_dir), reverse=True)
    for folder in runs:
        spec = read_json(folder / "spec.json")
        if spec is None or spec.get("tag") != job.spec:
            continue
        head, is_over = _head_of(folder / "results.jsonl")
        if not is_over and isinstance(group := head.get("group"), str):
            yield group
        return


def _head_of(path: Path) -> tuple[dict[str, Any], bool]:
    """The facts at the beginning of a results.jsonl, and whether it came to its end."""
    facts: dict[str, Any] = {}
    try:
        with path.open("rb") as stream:
            for line in stream.readlines(1 << 13):
                facts |= value if isinstance(value := json.loads(line), dict) and "v" in value else {}
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - (1 << 12)))
            return facts, b'"done": true' in stream.read()
    except (OSError, ValueError):
        return facts, False
