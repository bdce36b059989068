"""What a run leaves behind: checkpoints, resumable states, sample pictures, and the metadata of a LoRA file.

The trainer writes nothing atomically (core/help/trainer.md): a truncated .safetensors may stand under its final name.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.problems import UserError
from core.runs.model import Run

_MAX_HEADER = 100 << 20  # safetensors' own limit
_EPOCH = re.compile(r"^(?P<name>.+)-(?P<epoch>\d{6,})$")
_STEP = re.compile(r"^(?P<name>.+)-step(?P<step>\d{8,})$")
_SAMPLE = re.compile(
    r"^(?:(?P<name>.+)_)?(?:e(?P<epoch>\d{6,})|(?P<step>\d{6,}))_(?P<index>\d{2,})_(?P<time>\d{14})(?:_(?P<seed>-?\d+))?$"
)
CHECKPOINT_SUFFIXES = frozenset({".safetensors", ".ckpt", ".pt"})
STATE_LAST_FILE = "random_states_0.pkl"
"""Written last into a state folder: a state without it is incomplete."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Saved weights. `epoch` and `step` come from the name and, for what it does not tell, from the file's header.

    They are None where neither tells. A file of a step has no `epoch`: it lies inside one.
    """

    path: Path
    name: str
    epoch: int | None
    step: int | None
    bytes: int
    mtime: float
    complete: bool
    final: bool = False


@dataclass(frozen=True, slots=True)
class TrainState:
    """A `…-state` folder that a training can be resumed from."""

    path: Path
    name: str
    epoch: int | None
    step: int | None
    mtime: float
    complete: bool


@dataclass(frozen=True, slots=True)
class SampleImage:
    """A preview picture; `prompt_index` counts from 0. epoch 0 = before the training."""

    path: Path
    epoch: int | None
    step: int | None
    prompt_index: int
    seed: int | None
    mtime: float


def checkpoints(run: Run, known: Mapping[Path, Checkpoint] | None = None) -> tuple[Checkpoint, ...]:
    """The run's checkpoints, oldest first. In a folder shared with other runs: those newer than this run's start.

    `known`: what an earlier call found; complete files that did not change are not read again.
    """
    found = []
    for entry in _entries(run.output_dir):
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122
        if suffix not in CHECKPOINT_SUFFIXES or not entry.is_file():
            continue
        numbers = _numbers(stem, run.spec.output_name)
        if numbers is None:
            continue
        stat = _own_stat(entry, run)
        if stat is None:
            continue
        path = Path(entry.path)
        old = known.get(path) if known else None
        if old is not None and old.complete and (old.bytes, old.mtime) == (stat.st_size, stat.st_mtime):
            found.append(old)
            continue
        final = numbers == (None, None)
        complete, metadata = _look(path)
        epoch, step = numbers
        if step is None:
            epoch = epoch if epoch is not None else _said(metadata, "ss_epoch")
            step = _said(metadata, "ss_steps")
        found.append(Checkpoint(path, entry.name, epoch, step, stat.st_size, stat.st_mtime, complete, final))
    return tuple(sorted(found, key=lambda item: (item.final, item.mtime, item.name)))


def states(run: Run) -> tuple[TrainState, ...]:
    """The run's state folders, oldest first; incomplete ones too."""
    found = []
    for entry in _entries(run.output_dir):
        if not entry.name.endswith("-state") or not entry.is_dir():
            continue
        numbers = _numbers(entry.name.removesuffix("-state"), run.spec.output_name)
        if numbers is None:
            continue
        path = Path(entry.path)
        if (stat := _own_stat(entry, run)) is not None:
            found.append(TrainState(path, entry.name, *numbers, stat.st_mtime, is_state_complete(path)))
    return tuple(sorted(found, key=lambda item: (item.mtime, item.name)))


def samples(run: Run) -> tuple[SampleImage, ...]:
    """The run's sample pictures in the order of epoch or step, then of the prompt."""
    if run.output_dir is None:
        return ()
    found = []
    for entry in _entries(run.output_dir / "sample"):
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122
        match = _SAMPLE.match(stem) if suffix.lower() in {".png", ".webp", ".jpg"} else None
        if match is None or (match["name"] or None) != (run.spec.output_name or None):
            continue
        if (stat := _own_stat(entry, run)) is not None:
            epoch, step = _number(match["epoch"]), _number(match["step"])
            picture = Path(entry.path), epoch, step, int(match["index"]), _number(match["seed"]), stat.st_mtime
            found.append(SampleImage(*picture))
    return tuple(sorted(found, key=lambda item: (item.epoch or 0, item.step or 0, item.mtime, item.prompt_index)))


def is_complete(path: Path) -> bool:
    """Whether a checkpoint is all there: a .safetensors by its header and offsets, another kind when not empty."""
    return _look(path)[0]


def _look(path: Path) -> tuple[bool, Mapping[str, Any]]:
    """Whether a checkpoint is complete, and the metadata of a complete .safetensors."""
    try:
        size = path.stat().st_size
        if path.suffix != ".safetensors":
            return size > 0, {}
        header, begin = _header(path)
        end = max((item["data_offsets"][1] for key, item in header.items() if key != "__metadata__"), default=0)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False, {}
    metadata = header.get("__metadata__")
    complete = bool(size == begin + end)
    return complete, metadata if complete and isinstance(metadata, dict) else {}


def _said(metadata: Mapping[str, Any], key: str) -> int | None:
    """A number in the metadata, which holds text only; the trainer writes `None` for what it does not know."""
    text = metadata.get(key)
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 12 else None


def is_state_complete(folder: Path) -> bool:
    """Whether a state folder can be resumed from: its last file is there, and no weights are cut off.

    Of several processes the first one alone writes it (sd-scripts train_network.py, is_main_process). An old sd-scripts
    writes no train_state.json.
    """
    first = folder / "train_state.json"
    try:
        whole = (folder / STATE_LAST_FILE).stat().st_size > 0 and (not first.exists() or first.stat().st_size > 0)
        return whole and all(is_complete(path) for path in folder.glob("*.safetensors"))
    except OSError:
        return False


def read_header(path: Path) -> dict[str, str]:
    """The `__metadata__` of a .safetensors file: ss_epoch, ss_steps, ss_network_dim …, all values text.

    Raises UserError for a file that is none or is cut off inside its header.
    """
    try:
        header, _ = _header(path)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}", "List what a run saved: kohya-tui checkpoints RUN") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a complete .safetensors file ({error})", "Was it cut off while being saved or copied?"
        ) from error
    metadata = header.get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header's JSON and the offset at which the weights begin."""
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise ValueError("it is shorter than a header")
        (length,) = struct.unpack("<Q", start)
        if length > _MAX_HEADER:
            raise ValueError("its header has no sensible length")
        raw = stream.read(length)
    if len(raw) < length:
        raise ValueError("its header is cut off")
    header = json.loads(raw)
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header, 8 + length


def _numbers(stem: str, output_name: str | None) -> tuple[int | None, int | None] | None:
    """(epoch, step) from a file name without suffix; None when it belongs to something else.

    Without --output_name the trainer uses `epoch`, `at` and `last`.
    """
    if stem == (output_name or "last"):
        return None, None
    if (match := _STEP.match(stem)) and match["name"] == (output_name or "at"):
        return None, int(match["step"])
    if (match := _EPOCH.match(stem)) and match["name"] == (output_name or "epoch"):
        return int(match["epoch"]), None
    return None


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _own_stat(entry: os.DirEntry[str], run: Run) -> os.stat_result | None:
    """None for a file from before the run, and for one that is gone: the trainer removes its old checkpoints."""
    try:
        stat = entry.stat()
    except OSError:
        return None
    if run.output_dir is not None and run.id in run.output_dir.parts:
        return stat  # nobody else writes there, and a clock may have jumped
    # One second of tolerance for coarse file times.
    return stat if run.status.started is None or stat.st_mtime >= run.status.started - 1 else None


def _entries(folder: Path | None) -> list[os.DirEntry[str]]:
    if folder is None:
        return []
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []
