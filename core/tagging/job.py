"""The tag run: `python -P -m core.tagging.job RUN_DIR`, started by the run's supervisor.

Reads `tag` from spec.json, writes captions through one group of the journal, scores into the workspace's score store,
and a line per image into results.jsonl. What is printed is the run's log. SIGTERM and SIGINT let the batches under
way be written, commit the group and end with 143 or 130; a second signal ends at once.

Exit status: 0 done, 1 some images failed or the run could not be done.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from core.files import read_json
from core.problems import UserError
from core.settings import load
from core.tagging.listing import caption_path, find_images, last_of_each, shared_stems
from core.tagging.models import TaggerModel, find_model
from core.tagging.options import caption_options
from core.tagging.results import Results
from core.text import count_of, human_bytes, printable
from core.workspace import Workspace

if TYPE_CHECKING:
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
            raise SystemExit(128 + number)
        self.signal = number
        self.event.set()
        say("Stopping: the images under way are still written.")


def say(text: str) -> None:
    """One line of the log, made safe to show."""
    print(printable(text), flush=True)


def main(argv: list[str]) -> int:
    """Run the tag run in the folder `argv[0]`."""
    # Before numpy is imported: its own threads would fight with the decoding threads over tiny matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Pillow warns above 89 million pixels, in a form that no reader of the log understands; what it refuses is told per
    # file.
    warnings.filterwarnings("ignore", message=".*decompression bomb.*")
    stop = Stop()
    stop.install()
    try:
        return run(Path(argv[0]).absolute(), stop)
    except UserError as error:
        say(f"ERROR: {error.message}")
        if error.hint:
            say(error.hint)
        return 1


def run(run_dir: Path, stop: Stop) -> int:
    """The whole run. Raises UserError for what keeps it from starting or ends it early."""
    document = read_json(run_dir / "spec.json")
    spec = (document or {}).get("tag")
    if not isinstance(spec, dict):
        raise UserError(f"{run_dir / 'spec.json'} describes no tag run", "Start it again: kohya-tui tag DATASET-OR-DIR")
    options: dict[str, Any] = spec.get("options") or {}
    workspace = Workspace(Path(spec["workspace"])) if spec.get("workspace") else None
    names = _listed(spec, options)
    images = list(names)
    extension = options.get("caption_extension") or ".txt"
    skipped = 0
    if spec.get("policy") == "skip" and not options.get("output_path"):
        images = [image for image in images if not _has_text(caption_path(image, extension))]
        skipped = len(names) - len(images)
        say(f"{count_of(skipped, 'image')} with a caption skipped.")
    for caption, group in shared_stems(images, extension).items() if not options.get("output_path") else ():
        shared = ", ".join(path.name for path in group)
        say(f"Warning: {shared} share one caption {caption.name}; the last one writes it.")
    say(f"{count_of(len(images), 'image')} to tag in {count_of(len(spec['folders']), 'folder')}.")

    model = _model(spec, options, workspace)
    from core.tagging.session import open_session

    session = open_session(model, spec.get("provider") or "auto")
    _announce(session, options)
    results = Results(run_dir / "results.jsonl")
    results.begin(
        total=len(images),
        skipped=skipped,
        model=model.name,
        provider=session.provider,
        fallback=session.fallback,
    )
    return _tag(run_dir, spec, session, images, names, workspace, results, stop)


def _tag(
    run_dir: Path,
    spec: dict[str, Any],
    session: TaggerSession,
    images: list[Path],
    names: dict[Path, str],
    workspace: Workspace | None,
    results: Results,
    stop: Stop,
) -> int:
    from core.dataset.edits import Journal
    from core.tagging.captioning import Captioner
    from core.tagging.models import fingerprint
    from core.tagging.pipeline import one_line, tag_images
    from core.tagging.scores import ScoreStore, stamp_of
    from core.tagging.session import physical_cores
    from core.tagging.writing import CaptionFiles, CaptionTable

    options: dict[str, Any] = spec.get("options") or {}
    wanted = caption_options(options)
    captioner = Captioner(session.labels, wanted, by_probability=session.model.format.by_probability)
    extension = options.get("caption_extension") or ".txt"
    trigger = spec.get("trigger")
    store = None
    if workspace is not None and session.model.onnx is not None:
        store = ScoreStore(workspace, fingerprint(session.model.onnx), session.model.name, session.labels)
    pause = float(os.environ.get("KOHYA_TUI_DEMO_TAG_SECONDS") or 0)
    # Outside a workspace the images' own folder gets no .kohya-tui: the run's folder keeps the journal.
    journal = Journal(workspace or Workspace(run_dir))
    failed_writes = 0
    stop.is_tagging = True
    with journal.begin(f"Tag {spec.get('target') or count_of(len(images), 'image')}", "tag") as group:
        table = None
        if options.get("output_path"):
            table = CaptionTable(Path(options["output_path"]), run_dir / "captions.jsonl", wanted, names, trigger)
        output = table or CaptionFiles(
            group, wanted, last_of_each(images, extension), extension, spec.get("policy") or "overwrite", trigger
        )
        batches = tag_images(
            images,
            session,
            batch=options.get("batch_size") or _batch_for(session),
            threads=options.get("max_data_loader_n_workers") or max(2, physical_cores()),
            clip_16_bit=wanted.sd_compat,
            should_stop=stop.asked,
        )
        for batch in batches:
            for item in batch:
                if item.scores is None:
                    results.failed(item.path, item.error or "unreadable")
                    say(f"FAILED {item.error}")
                    continue
                tags = captioner.tags(item.scores)
                try:
                    output.write(item.path, tags.tags, item.size)
                except UserError as error:
                    failed_writes += 1
                    results.failed(item.path, one_line(error))
                    say(f"FAILED {one_line(error)}")
                    if failed_writes >= _GIVES_UP_AFTER:
                        results.save()
                        raise UserError(
                            f"{failed_writes} captions could not be written one after another", error.hint
                        ) from error
                    continue
                failed_writes = 0
                results.tagged(item.path, tags)
                for kind, words in tags.groups:
                    say(f"{item.path.name}: {kind}: {', '.join(words)}")
                if store is not None and workspace is not None:
                    store.add(workspace.key_of(item.path), stamp_of(item.path), item.scores)
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
    if store is not None:
        store.close()
    results.end(stopped=stop.signal is not None)
    _conclude(results, options, stop)
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if results.failures else 0


def _listed(spec: dict[str, Any], options: dict[str, Any]) -> dict[Path, str]:
    """Every image with the name that `--output_path` gives it, in order. Raises UserError when there is none."""
    found: dict[Path, str] = {}
    folders = [Path(folder) for folder in spec.get("folders") or ()]
    written = spec.get("names") or [str(folder) for folder in folders]
    compat = bool(options.get("sd_compat"))
    for folder, name in zip(folders, written, strict=True):
        if not folder.is_dir():
            raise UserError(f"The folder {folder} does not exist (any more)", "Name a dataset or a folder with images.")
        for image in find_images(folder, recursive=bool(options.get("recursive")), sd_compat=compat):
            found.setdefault(image, str(Path(name) / image.relative_to(folder)))
    if not found:
        where = ", ".join(map(str, folders)) or "(no folder)"
        raise UserError(f"There are no images in {where}", "For images in its subfolders add --recursive.")
    return found


def _model(spec: dict[str, Any], options: dict[str, Any], workspace: Workspace | None) -> TaggerModel:
    """The model on disk, downloaded where it is missing (or asked for with `--force_download`)."""
    settings = load(None if workspace is None else workspace.root)
    model_dir = Path(options["model_dir"]) if options.get("model_dir") else None
    model = find_model(spec.get("model"), workspace, settings, model_dir)
    say(f"Model: {model.name}")
    if model.is_local:
        if options.get("force_download"):
            say("--force_download has nothing to fetch: the model is a folder on this machine.")
        return model
    if model.is_on_disk and not options.get("force_download"):
        return model
    return _fetched(model, model_dir, workspace)


def _fetched(model: TaggerModel, model_dir: Path | None, workspace: Workspace | None) -> TaggerModel:
    from core.tagging.download import download

    shown = -1
    try:
        for progress in download(model, model_dir):
            percent = 100 * progress.done // progress.total if progress.total else 0
            if percent // 10 != shown:
                shown = percent // 10
                amount = f"{human_bytes(progress.done)} of {human_bytes(progress.total)}"
                say(f"Downloading {model.name}: {amount} ({percent} %)")
    except UserError as error:
        if not model.is_on_disk:
            raise
        say(f"Warning: {error.message} The copy on this machine is used: {model.onnx}")
        return model
    return find_model(model.name, workspace, load(None if workspace is None else workspace.root), model_dir)


def _announce(session: TaggerSession, options: dict[str, Any]) -> None:
    from core.tagging.providers import CUDA

    if session.provider != CUDA and options.get("require_gpu"):
        raise UserError(
            session.fallback or "The model runs on the CPU, and --require-gpu was given",
            None if session.fallback else "Leave out --require-gpu or --provider cpu.",
        )
    say(f"Provider: {'GPU (CUDA)' if session.provider == CUDA else 'CPU'}")
    if session.fallback:
        say(f"WARNING: {session.fallback}")
    asked = options.get("batch_size")
    if session.fixed_batch is not None and asked not in (None, session.fixed_batch):
        say(f"The model takes {session.fixed_batch} at once; --batch_size {asked} is not used.")


def _batch_for(session: TaggerSession) -> int:
    """Images at once when nobody said: 16 keep a GPU busy; on a CPU a large model gains nothing, and stops later."""
    if session.keeps_shape:
        return 16
    return 8 if (session.model.bytes or 0) < 50_000_000 else 1


def _has_text(path: Path) -> bool:
    try:
        return bool(path.read_bytes().strip())
    except OSError:
        return False


def _conclude(results: Results, options: dict[str, Any], stop: Stop) -> None:
    if options.get("frequency_tags"):
        print("Tag frequencies:")
        for tag, number in results.frequencies.most_common():
            print(f"{printable(tag)}: {number}")
    word = "Stopped" if stop.signal is not None else "Done"
    rate = f" at {results.rate:.1f} images/s" if results.rate else ""
    failed = f", {len(results.failures)} failed (FAILED above)" if results.failures else ""
    say(f"{word}: {count_of(results.count, 'image')} tagged{rate}{failed}.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
