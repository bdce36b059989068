"""The tag run: `python -P -m core.tagging.job RUN_DIR`, started by the run's supervisor.

Reads `tag` from spec.json, writes captions through one group of the journal, scores into the workspace's score store,
and a line per image into results.jsonl. What is printed is the run's log. SIGTERM and SIGINT let the batches under
way be written, commit the group and end with 143 or 130; a second signal ends at once.

Exit status: 0 done, 1 some images failed or the run could not be done.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from core.files import read_json
from core.problems import UserError
from core.settings import load
from core.tagging.listing import caption_path, find_images, last_of_each, shared_stems
from core.tagging.models import TaggerModel, find_model, fingerprint
from core.tagging.options import caption_options
from core.text import count_of, human_bytes, printable
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.tagging.pipeline import Tagged
    from core.tagging.results import Results
    from core.tagging.session import TaggerSession

_GIVES_UP_AFTER = 3
"""Failed writes in a row that end the run: the disk is full or gone, and every further image would fail, too."""


class Stop:
    """What a signal asked. Before the first image it ends the process, from then on the loop looks at `asked`."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_tagging = False
        self.event = threading.Event()

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def asked(self) -> bool:
        return self.signal is not None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None or not self.is_tagging:
            os._exit(
                128 + number
            )  # no unwinding: threads may sit in the model for seconds; the journal recovers its group
        self.signal = number
        self.event.set()


@dataclass(frozen=True, slots=True)
class Job:
    """What spec.json asks for. `images` maps every image to the name that `--output_path` gives it, in order."""

    run_dir: Path
    spec: dict[str, Any]
    workspace: Workspace | None
    images: dict[Path, str]
    skipped: int

    @classmethod
    def read(cls, run_dir: Path) -> Job:
        """Raises UserError when there is no such spec, and when there is no image."""
        spec = (read_json(run_dir / "spec.json") or {}).get("tag")
        if not isinstance(spec, dict):
            raise UserError(
                f"{run_dir / 'spec.json'} describes no tag run", "Start it again: kohya-tui tag DATASET-OR-DIR"
            )
        workspace = Workspace(Path(spec["workspace"])) if spec.get("workspace") else None
        listed = _listed(spec)
        kept = dict(listed)
        if spec.get("policy") == "skip" and not spec["options"].get("output_path"):
            extension = spec["options"].get("caption_extension") or ".txt"
            kept = {image: name for image, name in listed.items() if not _has_text(caption_path(image, extension))}
        return cls(run_dir, spec, workspace, kept, len(listed) - len(kept))

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = self.spec["options"]
        return options

    @property
    def extension(self) -> str:
        return self.options.get("caption_extension") or ".txt"

    @property
    def label(self) -> str:
        """What the history shows."""
        return f"Tag {self.spec.get('target') or count_of(len(self.images), 'image')}"


def say(text: str) -> None:
    """One line of the log, made safe to show."""
    print(printable(text), flush=True)


def main(argv: list[str]) -> int:
    """Do the tag run in the folder `argv[0]`."""
    # Before numpy is imported: its own threads would fight with the decoding threads over tiny matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Pillow warns above 89 million pixels in words that no reader of the log understands; what it refuses is told per
    # file.
    warnings.filterwarnings("ignore", message=".*decompression bomb.*")
    _keep_freed_memory()
    stop = Stop()
    stop.install()
    try:
        return run(Path(argv[0]).absolute(), stop)
    except UserError as error:
        say(f"ERROR: {error.message}")
        if error.hint:
            say(error.hint)
        return 1


def _keep_freed_memory() -> None:
    """Let glibc reuse the buffers of the last picture for the next, instead of giving every one back to the kernel.

    Fresh pages cost 4 ms of CPU per picture of 1-2 megapixels, a fifth of the host's work; the price is 10 MB.
    """
    import ctypes

    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing is lost but that fifth
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 32 << 20)
        mallopt(trim_threshold, 256 << 20)


def run(run_dir: Path, stop: Stop) -> int:
    """The whole run. Raises UserError for what keeps it from starting or ends it early."""
    from core.tagging.results import Results

    job = Job.read(run_dir)
    if job.skipped:
        say(f"{count_of(job.skipped, 'image')} with a caption skipped.")
    if not job.options.get("output_path"):
        for caption, group in shared_stems(job.images, job.extension).items():
            shared = ", ".join(path.name for path in group)
            say(f"Warning: {shared} share one caption {caption.name}; the last one writes it.")
    say(f"{count_of(len(job.images), 'image')} to tag in {count_of(len(job.spec['folders']), 'folder')}.")
    session = _session(job)
    results = Results(run_dir / "results.jsonl")
    results.begin(
        total=len(job.images),
        skipped=job.skipped,
        model=session.model.name,
        provider=session.provider,
        fallback=session.fallback,
    )
    _tag(job, session, results, stop)
    results.end(stopped=stop.asked())
    _conclude(job, results, stop)
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if results.failures else 0


def _tag(job: Job, session: TaggerSession, results: Results, stop: Stop) -> None:
    from core.dataset.edits import Journal
    from core.tagging.captioning import Captioner
    from core.tagging.pipeline import one_line, tag_images
    from core.tagging.scores import ScoreStore, stamp_of
    from core.tagging.session import physical_cores
    from core.tagging.writing import CaptionFiles, CaptionTable

    wanted = caption_options(job.options)
    captioner = Captioner(session.labels, wanted, by_probability=session.model.format.by_probability)
    trigger = job.spec.get("trigger")
    pause = float(os.environ.get("KOHYA_TUI_DEMO_TAG_SECONDS") or 0)
    batches = tag_images(
        list(job.images),
        [[session]],
        batch=job.options.get("batch_size"),
        threads=job.options.get("max_data_loader_n_workers") or max(2, physical_cores()),
        clip_16_bit=wanted.sd_compat,
        should_stop=stop.asked,
    )
    turned: list[str] = []
    split_up: set[str] = set()
    # Outside a workspace the images' own folder gets no .kohya-tui: the run's folder keeps the journal.
    journal = Journal(job.workspace or Workspace(job.run_dir))
    store = None
    with contextlib.ExitStack() as closing, journal.begin(job.label, "tag") as group:
        if job.workspace is not None and session.model.onnx is not None:
            key = fingerprint(session.model.onnx)
            store = ScoreStore(job.workspace, key, session.model.name, session.labels)
            closing.callback(store.close)
        table = None
        output: CaptionTable | CaptionFiles
        if job.options.get("output_path"):
            rows = job.run_dir / "captions.jsonl"
            output = table = CaptionTable(Path(job.options["output_path"]), rows, wanted, job.images, trigger)
        else:
            writers = last_of_each(list(job.images), job.extension)
            output = CaptionFiles(group, wanted, writers, job.extension, job.spec.get("policy") or "overwrite", trigger)
        failed_writes = 0
        splitter = wanted.caption_separator.strip() or wanted.caption_separator

        def finish(item: Tagged) -> None:
            nonlocal failed_writes
            if item.scores is None:
                results.failed(item.path, item.error or "unreadable")
                say(f"FAILED {item.error}")
                return
            (scores,) = item.scores
            tags = captioner.tags(scores)
            try:
                output.write(item.path, tags.tags, item.size)
            except UserError as error:
                failed_writes += 1
                results.failed(item.path, one_line(error))
                say(f"FAILED {one_line(error)}")
                if failed_writes < _GIVES_UP_AFTER:
                    return
                results.save()
                message = f"{failed_writes} captions could not be written one after another; the run ends here"
                raise UserError(message, error.hint) from error
            failed_writes = 0
            results.tagged(item.path, tags)
            if item.is_turned:
                turned.append(item.path.name)
            split_up.update(tag for tag in tags.tags if splitter in tag)
            for kind, words in tags.groups:
                say(f"{item.path.name}: {kind}: {', '.join(words)}")
            if store is not None and job.workspace is not None:
                store.add(job.workspace.key_of(item.path), stamp_of(item.path), scores)

        stop.is_tagging = True
        with contextlib.closing(batches):
            for batch in batches:
                for item in batch:
                    finish(item)
                    if pause > 0:
                        results.save()
                        stop.event.wait(pause)
                if table is not None:
                    table.flush()
                if store is not None:
                    store.save()
                results.save()
        if table is not None:
            table.finish(group)
    if store is not None and store.failure:
        say(f"Warning: the scores are not kept for later ({store.failure}); the captions are not affected.")
    if turned:
        say(
            f"Warning: {count_of(len(turned), 'image')} would be turned by viewers (EXIF), but not by the trainer, and "
            f"tagged as stored: {_some(turned)}. Save them turned to train on what you see."
        )
    if split_up:
        names = _some(sorted(split_up))
        say(f"Warning: tags with the separator inside are written as they are, and read as two: {names}")


def _some(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"


def _listed(spec: dict[str, Any]) -> dict[Path, str]:
    """Every image with its name in the output file, in order. Raises UserError when there is none."""
    found: dict[Path, str] = {}
    folders = [Path(folder) for folder in spec.get("folders") or ()]
    written = spec.get("names") or [str(folder) for folder in folders]
    options = spec["options"] = dict(spec.get("options") or {})
    for folder, name in zip(folders, written, strict=True):
        if not folder.is_dir():
            raise UserError(f"The folder {folder} does not exist (any more)", "Name a dataset or a folder with images.")
        is_recursive, is_compat = bool(options.get("recursive")), bool(options.get("sd_compat"))
        for image in find_images(folder, recursive=is_recursive, sd_compat=is_compat):
            found.setdefault(image, str(Path(name) / image.relative_to(folder)))
    if not found:
        where = ", ".join(map(str, folders)) or "(no folder)"
        raise UserError(f"There are no images in {where}", "For images in its subfolders add --recursive.")
    return found


def _session(job: Job) -> TaggerSession:
    """The model found (fetched where it is missing), loaded and announced."""
    from core.tagging.providers import CUDA
    from core.tagging.session import open_session

    settings = load(None if job.workspace is None else job.workspace.root)
    model_dir = Path(job.options["model_dir"]) if job.options.get("model_dir") else None
    model = find_model(job.spec.get("model"), job.workspace, settings, model_dir)
    say(f"Model: {model.name}")
    if job.options.get("force_download") and model.is_local:
        say("--force_download has nothing to fetch: the model is a folder on this machine.")
    elif job.options.get("force_download") or not model.is_on_disk:
        _fetch(model, model_dir)
        model = find_model(model.name, job.workspace, settings, model_dir)
    session = open_session(model, job.spec.get("provider") or "auto")
    if session.provider != CUDA and job.options.get("require_gpu"):
        raise UserError(
            session.fallback or "The model would run on the CPU, and --require-gpu was given",
            "Leave out --require-gpu to run on the CPU.",
        )
    say(f"Provider: {'GPU (CUDA)' if session.provider == CUDA else 'CPU'}")
    if session.fallback:
        say(f"WARNING: {session.fallback}")
    asked = job.options.get("batch_size")
    if session.fixed_batch is not None and asked not in (None, session.fixed_batch):
        say(f"The model takes {session.fixed_batch} at once; --batch_size {asked} is not used.")
    return session


def _fetch(model: TaggerModel, model_dir: Path | None) -> None:
    """Download the model; a copy on this machine is good enough when the hub cannot be asked."""
    from core.tagging.download import download

    shown = -1
    try:
        for progress in download(model, model_dir):
            percent = 100 * progress.done // progress.total if progress.total else 0
            if percent // 5 != shown:
                shown = percent // 5
                amount = f"{human_bytes(progress.done)} of {human_bytes(progress.total)}"
                say(f"Downloading {model.name}: {amount} ({percent} %)")
    except UserError as error:
        if not model.is_on_disk:
            raise
        say(f"Warning: {error.message}. The copy on this machine is used: {model.onnx}")


def _has_text(path: Path) -> bool:
    try:
        return bool(path.read_bytes().strip())
    except OSError:
        return False


def _conclude(job: Job, results: Results, stop: Stop) -> None:
    if job.options.get("frequency_tags"):
        print("Tag frequencies:")
        for tag, number in results.frequencies.most_common():
            print(f"{printable(tag)}: {number}")
    word = "Stopped" if stop.asked() else "Done"
    rate = f" at {results.rate:.1f} images/s" if results.rate else ""
    failed = f", {len(results.failures)} failed (FAILED above)" if results.failures else ""
    say(f"{word}: {count_of(results.count, 'image')} tagged{rate}{failed}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
