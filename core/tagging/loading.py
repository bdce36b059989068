"""The models of a tag run: found, fetched where they are missing, loaded on the devices, and announced in its log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.settings import load
from core.tagging.models import TaggerModel, find_model
from core.text import human_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.tagging.pipeline import Lane
    from core.tagging.reading import ModelInput
    from core.workspace import Workspace

Say = Callable[[str], None]
_SAMPLE = 32
"""Images on which half precision is compared."""


def find_models(spec: Mapping[str, Any], workspace: Workspace | None, say: Say) -> list[TaggerModel]:
    """Every model that a run's spec names, the first one first, on this machine when this returns.

    With `from_scores` nothing is fetched. Raises UserError when a model is unknown or cannot be fetched.
    """
    options = spec["options"]
    settings = load(None if workspace is None else workspace.root)
    model_dir = Path(options["model_dir"]) if options.get("model_dir") else None
    found: list[TaggerModel] = []
    for number, name in enumerate([spec.get("model"), *(spec.get("more_models") or ())]):
        revision = options.get("revision") if number == 0 else None
        model = find_model(name, workspace, settings, model_dir, revision)
        say(f"Model: {model.name}")
        if options.get("force_download") and model.is_local:
            say("--force_download has nothing to fetch: the model is a folder on this machine.")
        elif not options.get("from_scores") and (options.get("force_download") or not model.is_on_disk):
            _fetch(model, model_dir, say)
            model = replace(find_model(name, workspace, settings, model_dir, revision), name=model.name)
        if any(model.name == other.name for other in found):
            raise UserError(f"The model {model.name} is named twice", "Name each model of a pass once.")
        found.append(model)
    return found


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the models really run on."""

    provider: str
    fallback: str | None
    batch: int | None
    """Images at once when the run asked for a number."""


def load_lanes(
    spec: Mapping[str, Any],
    models: list[TaggerModel],
    say: Say,
    loaded: Callable[[Loaded], None],
    cancel: Callable[[], bool] = lambda: False,
) -> list[Lane]:
    """A lane per device. `loaded` is told before the first batch runs.

    Raises UserError when a model cannot be loaded, and with `require_gpu` when it would run on the CPU.
    """
    from core.tagging.session import open_lanes

    options = spec["options"]
    lanes: list[Lane] = list(
        open_lanes(
            models,
            spec.get("provider") or "auto",
            devices=tuple(options.get("devices") or ()),
            threads=options.get("threads"),
            vram_limit=options.get("vram_limit"),
            fp16=bool(options.get("fp16")),
            cancel=cancel,
        )
    )
    sessions = [session for lane in lanes for session in lane]
    fallback = next((session.fallback for session in sessions if session.fallback), None)
    on_cpu = next((session for session in sessions if not session.is_gpu), None)
    if on_cpu is not None and options.get("require_gpu"):
        raise UserError(
            on_cpu.fallback or "The model would run on the CPU, and --require-gpu was given",
            "Leave out --require-gpu to run on the CPU.",
        )
    names = dict.fromkeys(session.device_name for session in sessions)
    gpus = f" on {len(lanes)} devices" if len(lanes) > 1 else ""
    say(f"Provider: {', '.join('CPU' if name == 'CPU' else f'GPU ({name})' for name in names)}{gpus}")
    if fallback:
        say(f"WARNING: {fallback}")
    asked = options.get("batch_size")
    for session in sessions:
        for note in session.take_notes():
            say(note)
        if session.fixed_batch is not None and asked not in (None, session.fixed_batch):
            say(f"{session.model.name} takes {session.fixed_batch} at once; --batch_size {asked} is not used.")
            asked = session.fixed_batch
    loaded(Loaded((on_cpu or sessions[0]).provider, fallback, asked))
    return lanes


def tell_flips(
    lane: Lane,
    models: Sequence[TaggerModel],
    images: Sequence[Path],
    thresholds: Sequence[NDArray[np.float32]],
    say: Say,
    *,
    device: int | None = None,
) -> None:
    """Say of each model in half precision which tags of a sample of the images that changes.

    `thresholds`: float32 [labels] of each model. The exact model is loaded beside the other one for it.
    """
    from core.tagging.fp16 import flips
    from core.tagging.reading import MemoryGate, read_picture
    from core.tagging.session import open_session

    step = max(1, len(images) // _SAMPLE)
    for session, model, floors in zip(lane, models, thresholds, strict=True):
        if session.model.onnx == model.onnx:
            continue
        asked: Callable[[], list[ModelInput]] = partial(list, [session.input])
        pictures = (read_picture(path, asked, MemoryGate()) for path in images[::step][:_SAMPLE])
        pixels = [picture.pixels[0] for picture in pictures if picture.pixels]
        if not pixels:
            continue
        try:
            exact = open_session(model, session.provider, device=device)
            say(flips(exact, session, pixels, floors).sentence())
        except UserError as error:  # no room for both
            say(f"Warning: what half precision changes cannot be told: {error.message}")


def _fetch(model: TaggerModel, model_dir: Path | None, say: Say) -> None:
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
