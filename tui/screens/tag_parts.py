"""What the Tag screen knows of the machine, the datasets and the models, found out on a thread."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.problems import UserError
from core.text import count_of, printable

if TYPE_CHECKING:
    from core.settings import Settings
    from core.tagging.descriptors import TaggerModel
    from core.tagging.options import TagRequest
    from core.tagging.probe import Probe
    from core.workspace import Workspace

NO_IMAGES = "There are no images yet: import some in Dataset (1, then i)."
_REMEDY = re.compile(r"\s*(?:Repair|For the GPU|Check it with): ")


@dataclass(frozen=True, slots=True)
class Machine:
    """What is installed, as far as the tagger minds, and what a trial on a provider showed."""

    wheels: Mapping[str, str]
    driver: int | None
    gpu: str
    install: str
    repair: str
    tried: Mapping[str, Probe | UserError] = field(default_factory=dict)

    def says(self, provider: str) -> tuple[str, str]:
        """Where the model will run, and the role of these words: `bad` when it is not what the machine could do."""
        version = next(iter(self.wheels.values()), "")
        if not self.wheels:
            return "onnxruntime is not installed", "bad"
        if provider == "cpu":
            return f"CPU, as asked · onnxruntime {version}", "muted"
        tried = self.tried.get(provider)
        if isinstance(tried, UserError):
            return tried.message, "bad"
        if tried is not None and tried.fallback:
            return _REMEDY.split(tried.fallback)[0].rstrip("."), "bad"
        if tried is not None and not tried.is_gpu:
            return f"CPU · onnxruntime {version}", "muted"
        gpu = f" · {printable(self.gpu)}" if self.gpu else ""
        if tried is not None:
            return f"{tried.device}{gpu} · onnxruntime {version}", "good"
        if provider not in {"auto", "cuda"}:
            return "being tried …", "muted"
        if self.driver is None:
            return (
                ("CPU: no NVIDIA driver is loaded", "bad")
                if provider == "cuda"
                else (f"CPU · onnxruntime {version}", "muted")
            )
        if len(self.wheels) > 1:
            return "CPU: two builds of onnxruntime spoil each other", "bad"
        if "onnxruntime-gpu" not in self.wheels:
            return "CPU: this onnxruntime cannot use the GPU", "bad"
        return f"CUDA · {printable(self.gpu) or 'GPU'} · onnxruntime {version}", "good"

    def remedy(self, provider: str) -> str | None:
        """The command that repairs it; None when nothing is amiss."""
        if not self.wheels:
            return self.install
        if self.says(provider)[1] != "bad":
            return None
        tried = self.tried.get(provider)
        if isinstance(tried, UserError):
            return tried.hint or self.repair
        if tried is not None and tried.fallback:
            command = _REMEDY.split(tried.fallback)[1:]
            return command[0] if command else self.repair
        return "nvidia-smi" if self.driver is None else self.repair

    def wants_trial(self, provider: str) -> bool:
        """Whether only a trial can tell what a model would run on."""
        if provider == "cpu" or not self.wheels or provider in self.tried:
            return False
        is_amd = any(name in self.wheels for name in ("onnxruntime-migraphx", "onnxruntime-rocm"))
        if provider not in {"auto", "cuda"}:
            return True
        return (self.driver is not None or is_amd) and self.says(provider)[1] != "bad"


@dataclass(frozen=True, slots=True)
class Known:
    """What a thread found out."""

    datasets: dict[str, str]
    counts: dict[str, int]
    models: tuple[TaggerModel, ...]
    machine: Machine | None
    problem: UserError | None = None
    """Why the models cannot be listed: a descriptor of the user's is broken."""

    def model(self, name: str | None) -> TaggerModel | None:
        """The model of that name, when it is known."""
        return next((model for model in self.models if model.name == name), None)

    def models_of(self, request: TagRequest) -> tuple[TaggerModel, ...] | None:
        """All models of a request, the first one first; None when one is not known or not on disk."""
        found = [self.model(name) for name in (request.model, *request.more_models)]
        on_disk = [model for model in found if model is not None and model.is_on_disk]
        return tuple(on_disk) if len(on_disk) == len(found) else None


def look_around(workspace: Workspace | None, settings: Settings, request: TagRequest | None) -> Known:
    """Datasets, models and the machine; reads folders: on a thread."""
    from core.hardware import read_gpus
    from core.tagging.providers import driver_version, install_command, installed_wheels, repair_command

    notes: dict[str, str] = {}
    counts: dict[str, int] = {}
    if workspace is not None:
        from core.dataset.scan import open_dataset

        for name in workspace.dataset_names():
            dataset = open_dataset(workspace, name)
            uncaptioned = dataset.uncaptioned
            without = f", {uncaptioned:,} without caption" if uncaptioned else ", all with a caption"
            counts[name] = len(dataset.items)
            notes[name] = f"{count_of(len(dataset.items), 'image')}{without}" if dataset.items else "no image in it yet"
    models, problem = _models(workspace, settings, request)
    driver = driver_version()
    gpus = read_gpus().gpus if driver is not None else ()
    machine = Machine(
        installed_wheels(), driver, next((gpu.name or "" for gpu in gpus), ""), install_command(), repair_command()
    )
    return Known(notes, counts, models, machine, problem)


def _models(
    workspace: Workspace | None, settings: Settings, request: TagRequest | None
) -> tuple[tuple[TaggerModel, ...], UserError | None]:
    from pathlib import Path

    from core.tagging.models import find_model, list_models

    problem = None
    found: dict[str, TaggerModel] = {}
    try:
        listed = list_models(workspace, settings)
    except UserError as error:
        listed, problem = [], error
    for model in sorted(listed, key=lambda each: not each.is_on_disk):
        found.setdefault(model.name, model)
    if request is not None:
        folder = None if request.model_dir is None else Path(request.model_dir).expanduser()
        for number, name in enumerate((request.model, *request.more_models)):
            revision = request.revision if number == 0 else None
            if name and (name not in found or folder is not None or revision is not None):
                try:
                    found[name] = find_model(name, workspace, settings, folder, revision)
                except UserError as error:
                    problem = problem or error
    return tuple(found.values()), problem
