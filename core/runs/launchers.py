"""How a run is started: here, by `accelerate launch`, or as a Slurm job; and what its supervisor watches for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.runs.accelerate import PRECISIONS
from core.runs.slurm import Slurm

if TYPE_CHECKING:
    from core.runs.model import RunSpec
    from core.settings import Settings

_LIMITS = ("stall_minutes", "disk_gb")


def placed(spec: RunSpec, settings: Settings, launcher: str | None = None) -> RunSpec:
    """The spec with its launcher, what it asks of a cluster, and the limits of its alerts.

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
    return replace(spec, launcher=launcher, slurm=job, alerts=limits or None)


def with_precision(settings: Settings, said: Any) -> Settings:
    """accelerate is told the config's mixed_precision, unless the settings say another.

    sd-scripts gives its own to accelerate anyway; a contradiction would only be printed.
    """
    if "mixed_precision" in settings.accelerate or said not in PRECISIONS:
        return settings
    return replace(settings, accelerate={**settings.accelerate, "mixed_precision": said})
