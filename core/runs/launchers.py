"""How a run is started: here, by `accelerate launch`, or as a Slurm job; and what its supervisor watches for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.runs.accelerate import PRECISIONS, Accelerate
from core.runs.slurm import Slurm
from core.settings import CHOICES

if TYPE_CHECKING:
    from core.runs.model import RunSpec
    from core.settings import Settings

_LIMITS = ("stall_minutes", "disk_gb")


def placed(spec: RunSpec, settings: Settings, launcher: str | None = None) -> RunSpec:
    """The spec with its launcher, the options of that, and the limits of its alerts.

    Raises UserError for a GPU that was chosen although Slurm chooses.
    """
    launcher = launcher or settings.launcher
    limits = {name: float(settings.notify[name]) for name in _LIMITS if name in settings.notify}
    job = None
    if launcher == "slurm":
        if spec.gpu is not None:
            raise UserError("Slurm chooses the GPU itself", "Say how many with --gpus N in place of --gpu.")
        options = Slurm.from_table(settings.slurm)
        options.directives()
        job = options.as_table()
    processes = dict(settings.accelerate) if launcher != "local" else {}
    return replace(spec, launcher=launcher, accelerate=processes or None, slurm=job, alerts=limits or None)


def as_before(spec: RunSpec, settings: Settings, launcher: str | None = None) -> Settings:
    """The settings for going on with a run: with its launcher and what that was told, unless another is chosen."""
    before = spec.launcher if spec.launcher in CHOICES["launcher"] else settings.launcher
    if launcher not in (None, before):
        return replace(settings, launcher=str(launcher))
    tables = {"accelerate": spec.accelerate, "slurm": spec.slurm}
    told = {name: {**getattr(settings, name), **table} for name, table in tables.items() if table}
    return replace(settings, launcher=before, **told)  # type: ignore[arg-type]


def processes_of(launcher: str, accelerate: Mapping[str, Any] | None) -> int:
    """How many processes train together."""
    return 1 if launcher == "local" else Accelerate.from_table(accelerate or {}).processes


def with_precision(settings: Settings, said: Any) -> Settings:
    """accelerate is told the config's mixed_precision, unless the settings say another.

    sd-scripts gives its own to accelerate anyway; a contradiction would only be printed.
    """
    if "mixed_precision" in settings.accelerate or said not in PRECISIONS:
        return settings
    return replace(settings, accelerate={**settings.accelerate, "mixed_precision": said})
