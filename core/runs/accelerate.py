"""`accelerate launch`: the options that start sd-scripts on several GPUs or machines.

Everything that accelerate would otherwise guess or take from the user's own accelerate config is said, so that a run
does what its spec says (accelerate 1.6, commands/launch.py, `_validate_launch_command`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from core.problems import UserError

PRECISIONS = ("no", "fp16", "bf16", "fp8")
ENTRY = """\
import socket, sys
sys.path.pop(0)
for place, word in enumerate(sys.argv[:-1]):
    if (word, sys.argv[place + 1]) == ("--main_process_port", "auto"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            sys.argv[place + 1] = str(probe.getsockname()[1])
        break
from accelerate.commands.launch import main
main()
"""
"""What `python -c` runs. `-m accelerate.commands.launch` would look for the package in the workspace first, and Python
3.10 has no `-P`. `--main_process_port auto` becomes a free port when the run begins, which may be hours after it was
queued: the default, 29500, is refused when another training has it, and accelerate's own 0 hangs with torch 2.13."""


@dataclass(frozen=True, slots=True)
class Accelerate:
    """Options of `accelerate launch` under their own names.

    `num_processes` counts all machines together. None leaves `multi_gpu` and `num_processes` to what the GPUs say.
    """

    num_processes: int | None = None
    multi_gpu: bool | None = None
    mixed_precision: str | None = None
    num_machines: int = 1
    machine_rank: int = 0
    main_process_ip: str | None = None
    main_process_port: int | None = None
    dynamo_backend: str = "no"
    num_cpu_threads_per_process: int = 1
    gpu_ids: str | None = None
    extra: tuple[str, ...] = ()

    @classmethod
    def from_table(cls, table: Mapping[str, Any], **changes: Any) -> Accelerate:
        """The settings' table with what was said on the command line over it; None there says nothing."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in table.items() if name in known}
        values |= {name: value for name, value in changes.items() if value is not None}
        values["extra"] = tuple(values.get("extra", ()))
        return cls(**values)

    @property
    def processes(self) -> int:
        """How many are started: as said, else one for each of `gpu_ids`, else one a machine."""
        if self.num_processes is not None:
            return self.num_processes
        return self._gpus or self.num_machines

    @property
    def _gpus(self) -> int:
        if self.gpu_ids is None or self.gpu_ids == "all":
            return 0
        return len([part for part in self.gpu_ids.split(",") if part.strip()])

    def check(self) -> None:
        """Raises UserError for what accelerate would refuse only after half a minute, or do wrongly in silence."""
        if self.processes < 1 or self.num_machines < 1 or self.num_cpu_threads_per_process < 1:
            raise UserError("Processes, machines and threads are counted from 1", "Correct the number.")
        if self.mixed_precision is not None and self.mixed_precision not in PRECISIONS:
            raise UserError(
                f"mixed_precision {self.mixed_precision!r} is not one of {', '.join(PRECISIONS)}", "Choose one of them."
            )
        if self.multi_gpu and self.processes < 2:
            raise UserError("--multi-gpu needs two processes or more", "Say --processes 2, or leave it out.")
        if self._gpus and self.num_machines == 1 and self.processes > self._gpus:
            raise UserError(
                f"{self.processes} processes cannot share {self._gpus} GPU{'s' if self._gpus > 1 else ''}"
                f" ({self.gpu_ids})",
                "Name as many GPUs as there are processes.",
            )
        if self.num_machines > 1:
            if not self.main_process_ip or not self.main_process_port:
                raise UserError(
                    "Several machines need --main-ip and --main-port of the first one (rank 0)",
                    "Start the same on each machine, with its own --machine-rank.",
                )
            if self.machine_rank not in range(self.num_machines):
                raise UserError(
                    f"--machine-rank {self.machine_rank} does not fit {self.num_machines} machines",
                    "The first one has rank 0.",
                )
            if self.processes % self.num_machines:
                raise UserError(
                    f"{self.processes} processes do not divide among {self.num_machines} machines",
                    "--processes counts all machines together.",
                )

    def arguments(self) -> list[str]:
        """The words between `accelerate launch` and the script. Raises UserError for options that contradict."""
        self.check()
        several = self.processes > 1 if self.multi_gpu is None else self.multi_gpu
        words = ["--num_cpu_threads_per_process", str(self.num_cpu_threads_per_process)]
        words += ["--num_processes", str(self.processes), "--num_machines", str(self.num_machines)]
        words += ["--mixed_precision", self.mixed_precision or "no", "--dynamo_backend", self.dynamo_backend]
        if several:
            words.append("--multi_gpu")
        if self.num_machines > 1:
            words += ["--machine_rank", str(self.machine_rank), "--main_process_ip", str(self.main_process_ip)]
        if self.main_process_port is not None:
            words += ["--main_process_port", str(self.main_process_port)]
        elif several:
            words += ["--main_process_port", "auto"]
        if self.gpu_ids is not None:
            words += ["--gpu_ids", self.gpu_ids]
        return [*words, *self.extra]
