"""The tag run: `python -P -m core.tagging.job RUN_DIR`, started by the run's supervisor.

Reads `tag` from spec.json, writes captions through one group of the journal, scores into the score store, and a line
per image into results.jsonl. What is printed is the run's log. Images whose scores are stored are tagged without the
model, so a run that was killed goes on where it was when it is started again, in the same group of the journal.

SIGTERM and SIGINT break the batch in the model off; what is finished is written, the group committed, and the run ends
with 143 or 130. A second signal ends at once. Exit status: 0 done, 1 some images failed or the run could not be done.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from core.problems import UserError
from core.tagging.asked import Job, Stop, say
from core.tagging.claim import claimed
from core.tagging.listing import shared_stems
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.tagging.results import Results


def main(argv: list[str]) -> int:
    """Do the tag run in the folder `argv[0]`."""
    # Before numpy is imported: its own threads would fight with the decoding threads over tiny matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Pillow warns above 89 million pixels in words that no reader of the log understands; what it refuses is told per
    # file.
    warnings.filterwarnings("ignore", message=".*decompression bomb.*")
    _keep_freed_memory()
    gc.set_threshold(50_000, 20, 50)  # a run makes thousands of small values for each that is garbage
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

    Fresh pages cost 4 ms of CPU per picture of 1-2 megapixels, a fifth of the host's work; the price is 10 MB. All
    threads share two heaps: 16 of their own would each keep its largest picture's worth.
    """
    import ctypes

    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing is lost but that fifth
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 15 << 20)  # Pillow keeps large pictures in blocks of 16 MiB, which do go back
        mallopt(trim_threshold, 24 << 20)
        mallopt(arena_max, 2)


def run(run_dir: Path, stop: Stop) -> int:
    """The whole run. Raises UserError for what keeps it from starting or ends it early."""
    from core.tagging.pace import Pace
    from core.tagging.passing import Pass
    from core.tagging.results import Results

    job = Job.read(run_dir)
    results, pace = Results(run_dir / "results.jsonl", is_counting=bool(job.options.get("frequency_tags"))), Pace()
    with claimed(job.folders):
        _announce(job)
        Pass(job, results, pace, stop, say).run()
    results.end(stopped=stop.asked(), pace=pace)
    _conclude(job, results, stop)
    if stop.signal is not None:
        return 128 + stop.signal
    return 1 if results.failures else 0


def _announce(job: Job) -> None:
    if job.skipped:
        say(f"{count_of(job.skipped, 'image')} with a caption skipped.")
    if not job.options.get("output_path"):
        for caption, group in shared_stems(job.images, job.extension).items():
            shared = ", ".join(path.name for path in group)
            say(f"Warning: {shared} share one caption {caption.name}; the last one writes it.")
    say(f"{count_of(len(job.images), 'image')} to tag in {count_of(len(job.spec['folders']), 'folder')}.")


def _leave(code: int) -> NoReturn:
    """End the process. A thread that still sits in a model or a large picture is not waited for."""
    try:
        sys.stdout.flush()
    except OSError:  # a full disk: Python would make it 120
        os._exit(code)
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


def _conclude(job: Job, results: Results, stop: Stop) -> None:
    if job.options.get("frequency_tags"):
        print("Tag frequencies:")
        for tag, number in results.frequencies.most_common():
            print(f"{printable(tag)}: {number}")
    word = "Stopped" if stop.asked() else "Done"
    rate = f" at {results.rate:.1f} images/s" if results.rate else ""
    limit = f", limited by {results.limited_by}" if results.limited_by else ""
    failed = f", {len(results.failures)} failed (FAILED above)" if results.failures else ""
    known = f" ({results.known:,} from stored scores)" if results.known else ""
    if results.known == results.count:
        rate = ""
    verb = "would be tagged, nothing was written" if job.options.get("dry_run") else "tagged"
    say(f"{word}: {count_of(results.count, 'image')} {verb}{known}{rate}{limit}{failed}.")


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
