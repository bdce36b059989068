"""The options of `train` that belong to accelerate and to Slurm, and the settings they change."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Annotated, Any

import typer

from core.problems import UserError
from core.settings import Settings

_ACCELERATE = "Several GPUs or machines (accelerate)"
_SLURM = "Cluster (Slurm)"


def _option(name: str, help_: str, panel: str, **more: Any) -> Any:
    return typer.Option(name, help=help_, rich_help_panel=panel, show_default=False, **more)


Processes = Annotated[int | None, _option("--processes", "How many, all machines together.", _ACCELERATE)]
GpuIds = Annotated[str | None, _option("--gpu-ids", "The GPUs of this machine: 0,1.", _ACCELERATE)]
Precision = Annotated[str | None, _option("--precision", "no, fp16 or bf16; else the config's.", _ACCELERATE)]
Machines = Annotated[int | None, _option("--machines", "How many; started on each.", _ACCELERATE)]
MachineRank = Annotated[int | None, _option("--machine-rank", "Which of them this is, from 0.", _ACCELERATE)]
MainIp = Annotated[str | None, _option("--main-ip", "Address of machine 0.", _ACCELERATE)]
MainPort = Annotated[int | None, _option("--main-port", "Its port; on one machine a free one is found.", _ACCELERATE)]
Dynamo = Annotated[str | None, _option("--dynamo", "A backend of torch.compile: inductor.", _ACCELERATE)]
Threads = Annotated[int | None, _option("--threads", "CPU threads of a process (1).", _ACCELERATE)]
Partition = Annotated[str | None, _option("--partition", "The partition.", _SLURM)]
Gpus = Annotated[str | None, _option("--gpus", "How many GPUs: 2, or a100:2.", _SLURM)]
Time = Annotated[str | None, _option("--time", "The time limit: 8:00:00, 2-12:00:00.", _SLURM)]
Sbatch = Annotated[
    list[str] | None, _option("--sbatch", "More options of sbatch: '--qos=long --mem=32G'. May be repeated.", _SLURM)
]
Requeue = Annotated[
    bool | None, _option("--requeue/--no-requeue", "Go on from the last state when its node failed (no).", _SLURM)
]


def chosen(
    settings: Settings,
    *,
    processes: int | None = None,
    gpu_ids: str | None = None,
    precision: str | None = None,
    machines: int | None = None,
    machine_rank: int | None = None,
    main_ip: str | None = None,
    main_port: int | None = None,
    dynamo: str | None = None,
    threads: int | None = None,
    partition: str | None = None,
    gpus: str | None = None,
    time: str | None = None,
    sbatch: list[str] | None = None,
    requeue: bool | None = None,
) -> Settings:
    """The settings with what was said on the command line over their tables.

    Raises UserError for options of a launcher that is not used.
    """
    accelerate = {
        "num_processes": processes,
        "gpu_ids": gpu_ids,
        "mixed_precision": precision,
        "num_machines": machines,
        "machine_rank": machine_rank,
        "main_process_ip": main_ip,
        "main_process_port": main_port,
        "dynamo_backend": dynamo,
        "num_cpu_threads_per_process": threads,
    }
    slurm: dict[str, Any] = {"partition": partition, "gpus": gpus, "time": time, "requeue": requeue}
    accelerate = {name: value for name, value in accelerate.items() if value is not None}
    slurm = {name: value for name, value in slurm.items() if value is not None}
    if sbatch:
        words = [word for text in sbatch for word in shlex.split(text)]
        slurm["extra"] = [*settings.slurm.get("extra", ()), *words]
    if accelerate and settings.launcher == "local":
        raise UserError("These options are accelerate's, and the launcher is local", "Add --launcher accelerate.")
    if slurm and settings.launcher != "slurm":
        raise UserError("These options are Slurm's, and the launcher is not", "Add --launcher slurm.")
    if settings.launcher == "slurm" and "gpus" in slurm and "num_processes" not in accelerate:
        count = str(gpus).rpartition(":")[2]  # one process a GPU, unless it is said otherwise
        if count.isdigit() and int(count) > 1:
            accelerate["num_processes"] = int(count)
    return replace(settings, accelerate={**settings.accelerate, **accelerate}, slurm={**settings.slurm, **slurm})
