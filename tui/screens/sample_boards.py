"""What the sample grid shows: rows are prompts; columns are the epochs of one run, or the runs of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.text import printable
from tui.screens.monitor_parts import sample_label

if TYPE_CHECKING:
    from core.runs.artifacts import Checkpoint, SampleImage
    from core.runs.model import Run


@dataclass(frozen=True, slots=True)
class Board:
    """Pictures by (number of the prompt, column), and the checkpoint that was saved with those of a column."""

    title: str
    columns: tuple[str, ...] = ()
    cells: Mapping[tuple[int, str], SampleImage] = field(default_factory=dict)
    saved: Mapping[str, Checkpoint] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()

    @property
    def rows(self) -> list[int]:
        """The numbers of the prompts that were drawn."""
        return sorted({index for index, _ in self.cells})


def drawn_with(checkpoint: Checkpoint, samples: Sequence[SampleImage], epochs: int | None) -> list[SampleImage]:
    """The pictures that were drawn when it was saved: one of each prompt, the newest."""
    epoch = checkpoint.epoch
    if epoch is None and checkpoint.final and checkpoint.step is None:
        epoch = epochs
    found: dict[int, SampleImage] = {}
    for sample in samples:
        if sample.epoch is not None:
            same = sample.epoch == epoch
        else:
            same = sample.step is not None and sample.step == checkpoint.step
        if same:
            found[sample.prompt_index] = sample
    return [found[index] for index in sorted(found)]


def of_run(
    run: Run, samples: Sequence[SampleImage], checkpoints: Sequence[Checkpoint], epochs: int | None = None
) -> Board:
    """A column for each epoch, the newest last."""
    from core.runs.watch import prompts_of

    cells = {(sample.prompt_index, sample_label(sample)): sample for sample in samples}
    saved = {}
    for checkpoint in checkpoints:
        for sample in drawn_with(checkpoint, samples, epochs)[:1]:
            saved[sample_label(sample)] = checkpoint
    columns = tuple(dict.fromkeys(map(sample_label, samples)))
    return Board(printable(run.spec.name), columns, cells, saved, tuple(prompts_of(run.dir)))


def of_sweep(title: str, runs: Sequence[tuple[str, Run]]) -> Board:
    """A column for each run that drew something, by its label: the newest picture of each prompt. On a thread."""
    from core.runs.artifacts import checkpoints, samples

    cells: dict[tuple[int, str], SampleImage] = {}
    saved: dict[str, Checkpoint] = {}
    prompts: tuple[str, ...] = ()
    for label, run in runs:
        found, kept = samples(run), checkpoints(run)
        board = of_run(run, found, kept)
        for sample in found:  # the oldest first
            cells[sample.prompt_index, label] = sample
        last = board.columns[-1] if board.columns else ""
        if checkpoint := board.saved.get(last) or next((each for each in reversed(kept) if each.final), None):
            saved[label] = checkpoint
        prompts = prompts or board.prompts
    columns = tuple(label for label, _ in runs if any(column == label for _, column in cells))
    return Board(title, columns, cells, saved, prompts)
