"""The queue of this machine, as its clients use it: add, list, move, hold, release, cancel.

There is no daemon: a queued run is a supervisor that waits for its turn and its GPU (core.runs.waiting). What was
killed, or waited before the machine was restarted, stays in the queue until somebody releases it.
"""

from __future__ import annotations

import contextlib
import datetime
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.files import write_error
from core.problems import UserError
from core.runs import launch, order, proc, slots, specs, store
from core.runs.accelerate import Accelerate
from core.runs.model import Run, RunSpec, RunState

if TYPE_CHECKING:
    from core.hardware import GpuReading
    from core.settings import Settings
    from core.workspace import Workspace

MOVES = ("up", "down", "first", "last")


@dataclass(frozen=True, slots=True)
class Wish:
    """How a run shall wait. `gpu`: `any`, or indices and UUIDs with commas; `at` in seconds since 1970."""

    gpu: str = order.ANY
    at: float | None = None
    after: Path | None = None
    """The folder of a run that must be over before."""
    only_if_finished: bool = False
    """Not at all when that run did not finish."""
    share: bool = False
    """Start although others use the GPU."""
    held: bool = False


def add(
    folder: Path,
    spec: RunSpec,
    files: Mapping[str, bytes],
    wish: Wish,
    reading: GpuReading,
    recipe: Mapping[str, Any] | None = None,
) -> Run:
    """Put a run at the end of the queue. With a `recipe` its inputs are frozen when its turn comes.

    Raises UserError when a GPU that it wishes is not there, or something cannot be written.
    """
    _check_gpu(wish.gpu, reading)
    wait = {
        "dir": slots.folder(),
        "has_gpu": bool(slots.visible(reading)),
        "gpu": wish.gpu,
        "at": wish.at,
        "after": None if wish.after is None else str(wish.after),
        "only_if_finished": wish.only_if_finished,
        "share": wish.share,
        "held": "asked" if wish.held else None,
        "added": time.time(),
    }
    run = store.create(folder, replace(spec, wait=wait, recipe=recipe), files)
    return _attend(run)


def _check_gpu(wish: str, reading: GpuReading) -> None:
    gpus = slots.visible(reading)
    count, named = order.wish_of({"gpu": wish})
    if named:
        slots.chosen(wish, gpus)
    elif count > max(1, len(gpus)):
        raise UserError(f"There are not {count} GPUs here, but {len(gpus)}", "Look at them: kohya-tui gpu")


def holding(spec: RunSpec, reading: GpuReading | None, count: int = 1) -> RunSpec:
    """The spec of a run that starts past the queue: it holds its GPUs, so that nobody's turn comes while it runs."""
    if spec.launcher == "slurm":
        return spec
    if spec.trainer == "demo" or reading is None:  # it draws on the CPU, whatever there is
        names: tuple[str, ...] = (order.CPU,)
    else:
        names = slots.of_start(spec.gpu, reading, count)
    return replace(spec, slots=names, slots_dir=slots.folder())


def holding_for_tags(spec: RunSpec) -> RunSpec:
    """As `holding`, for a tag run. Asks the driver only where there is one: it would cost a quick run 0.1 s."""
    asked = spec.tag or {}
    on_cpu = asked.get("provider") == "cpu" or asked.get("from_scores")
    if on_cpu or not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return holding(spec, None)
    from core.hardware import read_gpus

    devices = ",".join(str(number) for number in asked.get("devices") or ())
    try:
        return holding(replace(spec, gpu=devices or None), read_gpus())
    except UserError:  # its own message will be better
        return spec


def start_now(
    folder: Path, spec: RunSpec, files: Mapping[str, bytes], reading: GpuReading | None, count: int = 1
) -> Run:
    """Start a run past the queue."""
    return launch.start(store.create(folder, holding(spec, reading, count), files))


def begin(
    workspace: Workspace,
    recipe: Mapping[str, Any],
    settings: Settings,
    reading: GpuReading,
    *,
    gpu: str | None = None,
    wish: Wish | None = None,
    group: Mapping[str, Any] | None = None,
) -> Run:
    """Start a training now, or with a `wish` when its turn comes; `recipe` is that of core.runs.specs.

    Raises UserError.
    """
    settings = specs.settings_for(recipe, settings)
    count, named = gpus_of(settings)
    if wish is None:
        spec, files = specs.from_recipe(workspace, recipe, settings, gpu=gpu)
        if gpu is not None and ":" in gpu:  # an instance: CUDA knows it by its UUID only
            names = ",".join(map(slots.name_of, slots.chosen(gpu, slots.visible(reading))))
            spec = replace(spec, env={**spec.env, "CUDA_VISIBLE_DEVICES": names})
        return start_now(workspace.runs, replace(spec, group=group), files, reading, count)
    refuse_cluster(settings)
    if wish.gpu == order.ANY and (named or count > 1):
        wish = replace(wish, gpu=named or f"{order.ANY}:{count}")
    spec, files = specs.from_recipe(workspace, recipe, settings)
    return add(workspace.runs, replace(spec, group=group), files, wish, reading, recipe)


def gpus_of(settings: Settings) -> tuple[int, str | None]:
    """How many GPUs of this machine the launcher uses, and which, when that was said."""
    if settings.launcher != "accelerate":
        return 1, None
    options = Accelerate.from_table(settings.accelerate)
    named = options.gpu_ids if options.gpu_ids != "all" else None
    return max(1, options.processes // max(1, options.num_machines)), named


def refuse_cluster(settings: Settings) -> None:
    """Slurm has a queue of its own. Raises UserError."""
    if settings.launcher == "slurm":
        raise UserError("Slurm has a queue of its own", "Leave out --queue: the job waits there for its turn.")


def waiting() -> list[Run]:
    """Everything that waits on this machine, of all workspaces, the first one first."""
    found = []
    for entry in order.read(slots.folder()):
        with contextlib.suppress(UserError):
            run = store.observe(Path(entry["dir"]))
            if run.state is RunState.QUEUED or run.place is not None:
                found.append(run)
    return found


def find(folder: Path, text: str) -> Run:
    """The waiting run of that id (or its beginning, name, position), here or in another workspace. Raises UserError."""
    found = waiting()
    if text.isdecimal():
        for run in found:
            if run.place is not None and run.place.position == int(text):
                return run
    # The id of a run that is over is not the beginning of another's: …-rinni ended, …-rinni-2 waits.
    is_id = bool(text.strip("/.")) and (folder / text).is_dir()
    for matching in (
        [run for run in found if run.id == text],
        [run for run in found if run.id.startswith(text) and not is_id],
        [run for run in found if run.spec.name == text and not is_id],
    ):
        if len(matching) == 1:
            return matching[0]
    run = store.open_run(folder, text)
    if run.state is not RunState.QUEUED:
        raise UserError(f"{run.id} is not in the queue: it is {run.state}", "See: kohya-tui queue")
    return run


def move(run: Run, where: str | int) -> int:
    """Put a run to a position (from 1), `first`, `last`, one `up` or `down`; returns the position it has then."""
    with _changing() as entries:
        entry = _entry(entries, run)
        index = entries.index(entry)
        entries.remove(entry)
        targets = {"up": index - 1, "down": index + 1, "first": 0, "last": len(entries)}
        target = targets[where] if isinstance(where, str) else where - 1
        target = min(max(target, 0), len(entries))
        entries.insert(target, entry)
        return target + 1


def edit(run: Run, changes: Mapping[str, Any], reading: GpuReading) -> None:
    """Let it wait in another way: `changes` holds those of the fields of Wish that are to be others.

    Whoever waits for its turn sees that within a second. Raises UserError for a GPU that is not there, and for runs
    that would wait for each other.
    """
    if "gpu" in changes:
        _check_gpu(changes["gpu"], reading)
    told = dict(changes)
    after = told["after"] = None if told.get("after") is None else str(told["after"])
    if "after" not in changes:
        del told["after"]
    with _changing() as entries:
        before = {entry["dir"]: entry.get("after") for entry in entries}
        while after is not None:
            if after == str(run.dir):
                raise UserError(f"{run.id} would wait for itself", "Name a run that does not come after it.")
            after = before.pop(after, None)
        entry = _entry(entries, run)
        entry.update(told)
        if entry.get("after") is None:
            entry["only_if_finished"] = False


def hold(run: Run) -> None:
    """Its turn does not come until it is released."""
    with _changing() as entries:
        _entry(entries, run).update(held="asked", now=False)


def release(run: Run) -> Run:
    """Let it wait for its turn again; where nobody does that any more, its supervisor is started anew."""
    with _changing() as entries:
        entry = _entry(entries, run)
        entry["held"] = None
        entry["at"] = entry.get("at") if (entry.get("at") or 0) > time.time() else None
    return _attend(run)


def hurry(run: Run) -> Run:
    """Let it start now, before its turn and its time, beside whatever has its GPU."""
    with _changing() as entries:
        entry = _entry(entries, run)
        entry |= {"held": None, "at": None, "after": None, "share": True, "now": True}
        entries.remove(entry)
        entries.insert(0, entry)
    return _attend(run)


def cancel(run: Run) -> None:
    """Take it out of the queue: it is stopped before it began. Raises UserError when it has started meanwhile."""
    run = store.observe(run.dir)
    if run.state is not RunState.QUEUED and run.place is None:
        raise UserError(f"{run.id} is not in the queue: it is {run.state}", f"Stop it: kohya-tui stop {run.id}")
    launch.stop(run)
    with _changing() as entries:
        entries[:] = [entry for entry in entries if entry["dir"] != str(run.dir)]


def abandoned() -> list[Run]:
    """What waits in vain: held since a restart of the machine, or its supervisor was killed."""
    return [run for run in waiting() if run.is_abandoned and (run.place is None or run.place.held in (None, "reboot"))]


def _attend(run: Run) -> Run:
    """See that a supervisor waits for this run's turn."""
    with _changing() as entries:
        from core.runs.waiting import join

        join(entries, str(run.dir), run.spec.as_json())
    found = store.observe(run.dir)
    return found if found.supervised else launch.start(found, queued=True)


@contextlib.contextmanager
def _changing() -> Iterator[list[order.Entry]]:
    folder = slots.folder()
    try:
        with order.changing(folder) as entries:
            yield entries
    except OSError as error:
        raise write_error(Path(order.queue_file(folder)), error) from error


def _entry(entries: list[order.Entry], run: Run) -> order.Entry:
    """The run's own; made anew when it was lost with its file."""
    entry = order.find(entries, str(run.dir))
    if entry is None:
        if store.observe(run.dir).state is not RunState.QUEUED:
            raise UserError(f"{run.id} is not in the queue any more", "See: kohya-tui queue")
        from core.runs.waiting import join

        entry = join(entries, str(run.dir), run.spec.as_json())
    return entry


# In words


def said(run: Run, now: float | None = None) -> str:
    """Why a queued run waits, in a few words: `held`, `at 23:30`, `after rinni-a`, `next`, `in line` …"""
    now = time.time() if now is None else now
    place = run.place
    if run.is_abandoned:
        why = (
            "since the restart of the machine"
            if place is not None and place.held == "reboot"
            else "its supervisor was killed"
        )
        return f"nobody waits ({why}): release it"
    if place is None:
        return run.status.waits_for or "waits"
    if place.held:
        return "held"
    parts = []
    if place.at is not None and place.at > now:
        parts.append(f"at {clock(place.at, now)}")
    if place.after is not None and not _is_over(place.after):
        parts.append(f"after {Path(place.after).name}" + (" if it finishes" if place.only_if_finished else ""))
    if not parts and run.status.waits_for:
        parts.append(run.status.waits_for.rstrip("."))
    if place.gpu != order.ANY:
        parts.append(f"{place.gpu[4:]} GPUs" if place.gpu.startswith(f"{order.ANY}:") else f"GPU {place.gpu}")
    return ", ".join(parts) or ("next" if place.position == 1 else "in line")


def _is_over(run_dir: str) -> bool:
    state = (proc.read_json(f"{run_dir}/state.json") or {}).get("state")
    return state in ("finished", "failed", "stopped", "lost")


def clock(moment: float, now: float) -> str:
    """`23:30`, or with the date when that is not within a day."""
    form = "%H:%M" if abs(moment - now) < 86_400 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(moment))


def moment(text: str, now: float | None = None) -> float:
    """`23:30` (the next one), `+2h`, `+90m`, `2026-12-01 08:00`: in seconds since 1970. Raises UserError."""
    now = time.time() if now is None else now
    if match := re.fullmatch(r"\+\s*(\d+(?:\.\d+)?)\s*([smhd]?)", text.strip()):
        return now + float(match[1]) * {"s": 1, "": 60, "m": 60, "h": 3600, "d": 86_400}[match[2]]
    today = datetime.datetime.fromtimestamp(now)
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", text.strip()):
            parts = [int(part) for part in text.split(":")]
            found = today.replace(hour=parts[0], minute=parts[1], second=(parts[2:] or [0])[0], microsecond=0)
            return (found if found.timestamp() > now else found + datetime.timedelta(days=1)).timestamp()
        return datetime.datetime.fromisoformat(text.strip()).timestamp()
    except ValueError as error:
        raise UserError(f"{text!r} is not a time", "Write 23:30, +2h, or 2026-12-01 08:00.") from error
