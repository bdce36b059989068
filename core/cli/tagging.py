"""`tag`: a detached run, and the wait for it."""

from __future__ import annotations

import contextlib
import gc
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from core.cli.main import Interrupted, Place, WrongUsage, place_of
from core.cli.output import Bar, emit, folded, problem_lines, put, say
from core.cli.queue import TAG_USAGE, queued_document, queued_lines, take_words, wish_of
from core.problems import Problem, UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.runs.model import Run, RunSpec
    from core.runs.queue import Wish
    from core.runs.watch import RunSnapshot
    from core.tagging.options import TagRequest
    from core.tagging.results import TagResult
    from core.workspace import Workspace

STOPPING_SECONDS = 20
_COMING_UP_SECONDS = 1.0
_POLL_SECONDS = 0.05
FAILED_IMAGES = "KT513"
"""The problem that counts failed images: the report names each."""


def register(app: typer.Typer) -> None:
    """Add `tag`, whose words are read by core.tagging.options."""
    app.command(
        "tag",
        rich_help_panel="Dataset",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
        add_help_option=False,
    )(tag)


def tag(context: typer.Context) -> None:
    """Tag images, with every option of sd-scripts' tagger."""
    tag_words(place_of(context), context.args)


def tag_words(place: Place, words: Sequence[str]) -> None:
    """`tag` with the words behind it."""
    from core.tagging.command import parse_command, usage

    if {"-h", "--help"} & set(words):
        put(usage() + TAG_USAGE, end="")
        return
    words, waits = take_words(list(words))
    try:
        request = parse_command(words)
    except UserError as error:
        raise WrongUsage(error.message, error.hint) from error
    _start(place, request, waits)


def _start(place: Place, request: TagRequest, waits: dict[str, Any]) -> None:
    workspace = place.workspace_or_none()
    place.settings()  # the run reads them itself; what is wrong with them is told here
    if request.dry_run and request.from_scores and not request.detach and not any(waits.values()):
        _look(workspace, request)
        return
    from core.runs.launch import start, tag_spec
    from core.runs.queue import holding_for_tags
    from core.runs.store import create, runs_dir
    from core.tagging.plan import plan_tagging

    plan = plan_tagging(workspace, request)
    spec, files = tag_spec(workspace, request)
    if plan.warning:
        say(f"{plan.warning}; kohya-tui undo brings them back, --policy append, skip or only-untagged keeps them")
    devices = ",".join(map(str, request.devices))
    if (wish := wish_of(runs_dir(workspace), gpu=devices or None, **waits)) is not None:
        run = _queue(runs_dir(workspace), spec, files, wish)
        emit(queued_document(run), queued_lines(run), as_json=request.json)
        return
    run = create(runs_dir(workspace), holding_for_tags(spec), files)
    try:
        run = start(run)
        if request.detach:
            emit({"run": run.id, "state": str(run.status.state)}, [f"tagging as run {run.id}"], as_json=request.json)
            return
        result = _wait(run, request)
    except Interrupted as stop:
        if stop.number == signal.SIGHUP:  # the terminal went away: what a detached run is for
            say(f"run {run.id} goes on without this terminal")
            raise
        _leave(run, request)
        raise
    except KeyboardInterrupt:
        _leave(run, request)
        raise
    _report(run, request, result)


def _queue(folder: Path, spec: RunSpec, files: Mapping[str, bytes], wish: Wish) -> Run:
    from core.hardware import read_gpus
    from core.runs.queue import add

    return add(folder, spec, files, wish, read_gpus())


def _look(workspace: Workspace | None, request: TagRequest) -> None:
    """A dry run from stored scores needs no model and changes nothing, so nothing is detached, and nothing is kept."""
    from core.tagging.passing import look

    gc.disable()  # thousands of small values that all stay until the end
    result = look(request.run_spec(workspace), lambda text: _tell(text, request))
    root = "" if workspace is None else f"{workspace.root}/"
    _emit(result, request, root, run=None, state="finished")
    if result.failed:
        raise typer.Exit(1)


def _tell(text: str, request: TagRequest) -> None:
    """A line of the run's log, where it is for whoever waits: a warning, or what `--debug` asks for."""
    if text.startswith("Warning: ") or request.caption.debug:
        say(printable(text))


def _wait(run: Run, request: TagRequest, seconds: float | None = None) -> TagResult:
    """Until the run has ended (at most `seconds`), with a bar; what came out."""
    from core.runs.model import LIVE_STATES
    from core.runs.watch import RunWatch
    from core.tagging.results import TagResult

    watch = RunWatch(run.dir)
    bar = Bar("tagging")
    deadline = None if seconds is None else time.monotonic() + seconds
    told: set[Problem] = set()
    try:
        while True:
            seen = watch.poll()
            fresh = [problem for problem in seen.problems if problem.code != FAILED_IMAGES and problem not in told]
            if fresh and seconds is None:
                bar.close()
                for line in problem_lines(fresh):
                    say(line)
                told.update(fresh)
            for told_line in seen.log_lines_new:
                _tell(told_line.text, request)
            if seen.total_steps:
                bar.update(seen.step or 0, seen.total_steps, _pace(seen), eta=seen.eta_seconds)
            if seen.run.status.state not in LIVE_STATES:
                return seen.results or TagResult()
            if deadline is not None and time.monotonic() > deadline:
                say(f"run {run.id} is still stopping: kohya-tui status {run.id}")
                return seen.results or TagResult()
            time.sleep(_POLL_SECONDS)
    finally:
        bar.close()


def _pace(seen: RunSnapshot) -> str:
    """`12.3 img/s  limit: decoding (8 threads)  410 tags/s`, as far as it is known."""
    parts = [f"{seen.rate:.1f} img/s"] if seen.rate else []
    if seen.results is not None:
        if seen.results.limited_by:
            parts.append(f"limit: {seen.results.limited_by}")
        if seen.results.tags_per_second:
            parts.append(f"{seen.results.tags_per_second:,.0f} tags/s")
    return "  ".join(parts)


def _leave(run: Run, request: TagRequest) -> None:
    """Ask the run to stop, wait until it did, and say what was done: captions that are written stay."""
    from core.runs.launch import stop
    from core.runs.model import WAITING_STATES
    from core.runs.store import observe

    deadline = time.monotonic() + _COMING_UP_SECONDS
    while run.status.state in WAITING_STATES and time.monotonic() < deadline:  # interrupted while it was started
        run = observe(run.dir)
        time.sleep(0.02)
    say(f"stopping; what is tagged stays ({_undo(run)} takes it back)")
    with contextlib.suppress(UserError):  # it ended by itself just now
        stop(run, "stop-now")
    _report(run, request, _wait(run, request, STOPPING_SECONDS), interrupted=True)


def _undo(run: Run) -> str:
    """The command that takes a run back; one outside any workspace keeps its own journal."""
    if run.spec.workspace is None:
        return f"kohya-tui -C {shlex.quote(str(run.dir))} undo"
    return "kohya-tui undo"


def _report(run: Run, request: TagRequest, result: TagResult, *, interrupted: bool = False) -> None:
    """The result; raises Exit(1) when it is not whole and nobody interrupted it."""
    from core.runs.model import RunState
    from core.runs.store import observe

    run = observe(run.dir)
    root = "" if run.spec.workspace is None else f"{run.spec.workspace}/"
    _emit(result, request, root, run=run.id, state=str(run.status.state))
    if run.spec.workspace is None and result.tagged and not result.dry_run and not request.json and not interrupted:
        say(f"To take it back: {_undo(run)}")
    if interrupted:
        return
    whole = run.status.state is RunState.FINISHED
    if not whole:
        say(f"kohya-tui: {printable(run.status.reason or f'run {run.id} is {run.status.state}')}")
        say(f"  Its output: kohya-tui log {run.id}")
    if result.failed or not whole:
        raise typer.Exit(1)


def _emit(result: TagResult, request: TagRequest, root: str, *, run: str | None, state: str) -> None:
    """What came out, as a document or in lines; paths without `root`."""
    failed = [(path, reason.removeprefix(path).lstrip(" :")) for path, reason in result.failed]
    document = {
        "images": result.total or 0,
        "tagged": result.tagged,
        "known": result.known,
        "skipped": result.skipped,
        "failed": [{"path": path, "reason": reason} for path, reason in failed],
        "provider": result.provider,
        "images_per_second": result.images_per_second,
        "tags_per_second": result.tags_per_second,
        "limited_by": result.limited_by,
        "model": result.model,
        "run": run,
        "state": state,
    }
    if result.frequencies is not None:
        document["frequencies"] = dict(result.frequencies)
    if result.dry_run:
        document["changes"] = [
            {"path": change.path, "added": list(change.added), "removed": list(change.removed)}
            for change in result.changes
        ]
    if request.json:
        emit(document, (), as_json=True)
        return
    lines = [f"{printable(tag)}: {number:,}" for tag, number in (result.frequencies or {}).items()]
    lines += _summary(result, root)
    lines += [f"✗ {printable(path.removeprefix(root))}: {printable(reason)}" for path, reason in failed]
    emit(document, folded(lines), as_json=False)


def _summary(result: TagResult, root: str) -> list[str]:
    """What was done, in a few lines; of a dry run the tags that every caption would get and lose."""
    if result.total is None:
        return []
    lines = []
    for change in result.changes:
        pairs = (("+", change.added), ("-", change.removed))
        parts = [f"{sign} {printable(', '.join(tags))}" for sign, tags in pairs if tags]
        lines.append(f"{printable(change.path.removeprefix(root))}: {'  '.join(parts)}")
    by = f" by {printable(result.model or '?')}"
    on = f" on {printable(result.provider)}" if result.provider else ""
    rate = f", {result.images_per_second:.1f} images a second" if result.images_per_second else ""
    if result.tagged and result.known == result.tagged:
        on, rate = " from stored scores", ""
    if result.dry_run:
        changes = count_of(len(result.changes), "caption")
        added = count_of(sum(len(change.added) for change in result.changes), "tag")
        removed = sum(len(change.removed) for change in result.changes)
        lines.append(f"{changes} would change: {added} added, {removed:,} removed. Nothing was written.")
        return lines
    lines.append(f"{result.tagged:,} of {count_of(result.total, 'image')} tagged{by}{on}{rate}")
    if result.known and result.known < result.tagged:
        lines.append(f"{result.known:,} of them from stored scores: unchanged since the model saw them")
    if result.limited_by and result.tagged > result.known:
        busy = ""
        if result.decode_share is not None and result.model_share is not None:
            busy = f": decoding was busy {result.decode_share:.0%} of the time, the model {result.model_share:.0%}"
        lines.append(f"limited by {result.limited_by}{busy}")
    if result.skipped:
        lines.append(f"{result.skipped:,} left as they are: they have a caption")
    return lines
