"""What is said beside the name of a run, so that runs of one config do not read alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.runs.differs import notes
from core.runs.model import Run, RunKind, RunSpec, RunState, RunStatus
from core.workspace import Workspace, create

TRAIN = 'learning_rate = {rate}\nnetwork_dim = 16\npretrained_model_name_or_path = "models/base.safetensors"\n'


def run_of(workspace: Workspace, number: int, text: str, *, started: bool = True) -> Run:
    """A training of the config `rinni` with these frozen options."""
    folder = workspace.runs / f"run-{number}"
    folder.mkdir(parents=True)
    (folder / "train.toml").write_text(text)
    spec = RunSpec(folder.name, RunKind.TRAIN, "rinni", float(number), ("python",), str(workspace.root), config="rinni")
    return Run(folder, spec, RunStatus(RunState.FINISHED, started=float(number) if started else None))


def test_a_run_says_what_its_config_has_else_than_the_one_before(tmp_path: Path) -> None:
    """The same twice: nothing; another rate: the rate; one that never began changes nothing for those after it."""
    workspace = create(tmp_path)
    same = TRAIN.format(rate="1e-4")
    runs = [
        run_of(workspace, 1, same),
        run_of(workspace, 2, same),
        run_of(workspace, 3, TRAIN.format(rate="5e-5"), started=False),
        run_of(workspace, 4, TRAIN.format(rate="5e-5")),
    ]
    found = notes(workspace, runs, {"run-1": "kept"})
    assert (found["run-1"], found["run-2"], found["run-4"]) == ("kept", "", "learning_rate 5e-05")
    (runs[3].dir / "train.toml").unlink()
    assert notes(workspace, runs, {})["run-4"] == ""


def test_a_resumed_run_and_one_from_a_lora_say_from_where(tmp_path: Path) -> None:
    """Not what differs, but what they go on from; of a sweep the name says it already."""
    workspace = create(tmp_path)
    first, second, third = (run_of(workspace, number, TRAIN.format(rate=f"{number}e-4")) for number in (1, 2, 3))
    resumed = replace(second, spec=replace(second.spec, resumed_from=first.id, argv=("python", "--initial_epoch", "3")))
    further = replace(third, spec=replace(third.spec, trained_from="output/rinni-000004.safetensors"))
    swept = replace(third, spec=replace(third.spec, id="run-4", group={"id": "s", "values": {"learning_rate": 1e-4}}))
    found = notes(workspace, [first, resumed, further, swept], {})
    assert list(found.values()) == ["", "goes on from epoch 3", "from rinni-000004", ""]
