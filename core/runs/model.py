"""What a run is: frozen inputs (RunSpec), a state (RunStatus), and the folder that holds both (Run)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

FORMAT = 1


class RunKind(StrEnum):
    """What the run does."""

    TRAIN = "train"
    TAG = "tag"
    SAMPLE = "sample"


class RunState(StrEnum):
    """Where the run is. Held, scheduled and unsupervised are properties beside these eight, not states."""

    QUEUED = "queued"
    PREPARED = "prepared"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


_TEXTS = frozenset(
    {
        *("workspace", "output_dir", "output_name", "trainer", "dataset", "config"),
        *("resumed_from", "trained_from", "gpu", "locks", "slots_dir"),
    }
)
_TABLES = frozenset({"slurm", "accelerate", "alerts", "recipe", "wait", "group"})
_TIMES = ("started", "ended", "heartbeat")
LIVE_STATES = frozenset({RunState.RUNNING, RunState.STOPPING})
WAITING_STATES = frozenset({RunState.QUEUED, RunState.PREPARED})
ENDED_STATES = frozenset({RunState.FINISHED, RunState.FAILED, RunState.STOPPED, RunState.LOST})
_NEXT: Mapping[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.PREPARED, RunState.RUNNING, RunState.FAILED, RunState.STOPPED}),
    RunState.PREPARED: frozenset({RunState.QUEUED, RunState.RUNNING, RunState.FAILED, RunState.STOPPED}),
    RunState.RUNNING: frozenset({RunState.STOPPING}) | ENDED_STATES,
    RunState.STOPPING: ENDED_STATES,
}


def transition(old: RunState, new: RunState) -> RunState:
    """`new`, when a run may go there from `old`; an ended run goes nowhere (resuming makes a new run)."""
    assert new == old or new in _NEXT.get(old, frozenset()), f"a run does not go from {old} to {new}"
    return new


@dataclass(frozen=True, slots=True)
class RunSpec:
    """The frozen inputs of a run, kept as spec.json. `argv`, `cwd` and `env` are all that the supervisor needs.

    `env` is laid over the environment of whoever starts the run. `locks` names the folder of the two lock files where
    the run's own file system has no flock. `launcher` is local, accelerate or slurm; `accelerate` and `slurm` are the
    options that it was given, `alerts` the limits of core.runs.vigil. `resumed_from` is the id of the run that this one
    goes on from, `trained_from` the LoRA that it began with. `wait` is how a queued run waits (core.runs.order),
    `recipe` from what its inputs are frozen when its turn comes; `slots` are the GPUs of one that was started at once.
    `group` (id, label, values) makes it one of a sweep.
    """

    id: str
    kind: RunKind
    name: str
    created: float
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    workspace: str | None = None
    output_dir: str | None = None
    output_name: str | None = None
    trainer: str = "sd-scripts"
    dataset: str | None = None
    config: str | None = None
    resumed_from: str | None = None
    gpu: str | None = None
    locks: str | None = None
    tag: Mapping[str, Any] | None = None
    launcher: str = "local"
    accelerate: Mapping[str, Any] | None = None
    slurm: Mapping[str, Any] | None = None
    alerts: Mapping[str, float] | None = None
    recipe: Mapping[str, Any] | None = None
    wait: Mapping[str, Any] | None = None
    slots: tuple[str, ...] = ()
    slots_dir: str | None = None
    group: Mapping[str, Any] | None = None
    trained_from: str | None = None
    v: int = FORMAT

    @property
    def mark(self) -> str:
        """What the processes of the run carry as KOHYA_TUI_RUN; an id alone may exist in two workspaces."""
        return f"{self.id}@{self.created}"

    def as_json(self) -> dict[str, Any]:
        """The content of spec.json."""
        value = asdict(self)
        lists = {"argv": list(self.argv), "slots": list(self.slots)}
        return {"v": value.pop("v"), **value, "kind": self.kind.value, **lists}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunSpec:
        """The spec in a spec.json; keys of a newer format are passed over. Raises ValueError, KeyError or TypeError."""
        known = {item.name for item in fields(cls)} & value.keys()
        data = {name: value[name] for name in known}
        data["kind"] = RunKind(value["kind"])
        data["argv"] = tuple(str(item) for item in value["argv"])
        data["slots"] = tuple(str(item) for item in value.get("slots") or ())
        data["created"] = float(value["created"])
        data |= {name: str(value[name]) for name in ("id", "name", "cwd")}
        if not isinstance(data.get("launcher", ""), str):
            raise ValueError("launcher is no text")
        for name in _TABLES & data.keys():
            if data[name] is not None and not isinstance(data[name], Mapping):
                raise ValueError(f"{name} is no table")
        for name in _TEXTS & data.keys():
            if not isinstance(data[name], str | None):
                raise ValueError(f"{name} is no text")
        return cls(**data)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What state.json says. Times are seconds since 1970; `returncode` is negative for a signal, as Python has it."""

    state: RunState = RunState.PREPARED
    pid: int | None = None
    pid_start: int | None = None
    boot_id: str | None = None
    supervisor_pid: int | None = None
    started: float | None = None
    ended: float | None = None
    returncode: int | None = None
    reason: str | None = None
    heartbeat: float | None = None
    stop_after_checkpoint: bool = False
    host: str | None = None
    """The machine that it runs on."""
    warning: str | None = None
    """What is wrong while it goes on: a loss that is not a number, no progress, a disk that fills up."""
    gpu: str | None = None
    """The GPU that a queued run got, by index."""
    waits_for: str | None = None
    """What a queued run waits for, beside its place in the queue."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunStatus:
        """The status in a state.json; what is missing keeps its default. Raises ValueError for an unknown state."""
        known = {item.name for item in fields(cls)} & value.keys()
        data = {name: value[name] for name in known} | {"state": RunState(value.get("state", "prepared"))}
        data |= {name: float(data[name]) for name in _TIMES if data.get(name) is not None}
        for name in ("reason", "warning", "host", "gpu", "waits_for"):
            if not isinstance(data.get(name), str | None):
                raise ValueError(f"{name} is no text")
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Place:
    """A run's place in the queue of this machine; `position` counts from 1, over all workspaces."""

    position: int
    gpu: str
    """`any`, or indices and UUIDs with commas."""
    held: str | None = None
    """`asked` for by the user, or since a `reboot`."""
    at: float | None = None
    """Not before this moment."""
    after: str | None = None
    """The folder of the run to come after."""
    only_if_finished: bool = False
    share: bool = False
    """Whether it starts although others use the GPU."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder as it was found. `live`: its trainer runs; `supervised`: its supervisor does."""

    dir: Path
    spec: RunSpec
    status: RunStatus
    live: bool = False
    supervised: bool = False
    place: Place | None = None
    """Of a queued one; None also when the queue does not know it."""

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def state(self) -> RunState:
        return self.status.state

    @property
    def log_file(self) -> Path:
        return self.dir / "output.log"

    @property
    def logs_dir(self) -> Path:
        """Where the trainer writes its TensorBoard events."""
        return self.dir / "logs"

    @property
    def output_dir(self) -> Path | None:
        """Where checkpoints, states and samples go; absolute."""
        if self.spec.output_dir is None:
            return None
        return Path(self.spec.cwd, self.spec.output_dir)

    @property
    def gpu(self) -> str | None:
        """The GPU that it runs on or is to run on, by index; None for whatever the trainer takes."""
        return self.status.gpu or self.spec.gpu

    @property
    def is_abandoned(self) -> bool:
        """It is queued, and nobody waits for its turn: its supervisor was killed, or the machine was restarted."""
        return self.state is RunState.QUEUED and self.spec.wait is not None and not self.supervised

    @property
    def unsupervised(self) -> bool:
        """The trainer goes on, and nobody watches it: its supervisor was killed."""
        return self.live and not self.supervised
