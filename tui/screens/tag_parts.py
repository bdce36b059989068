"""What the Tag screen shows beside its form: the run, the preview, and what is known of the machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.strip import Strip

from core.text import count_of, human_seconds, printable
from tui.screens.tag_form import POLICY_NOTES
from tui.theme import Cells, fit
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import cut

if TYPE_CHECKING:
    from core.runs.watch import RunSnapshot
    from core.settings import Settings
    from core.tagging.models import TaggerModel
    from core.tagging.options import TagRequest
    from core.tagging.preview import Preview
    from core.tagging.results import TagResult
    from core.workspace import Workspace
    from tui.screens.tag_run import WatchedRun

BAR = 36
NO_IMAGES = "There are no images yet: import some in Dataset (1, then i)."


@dataclass(frozen=True, slots=True)
class Machine:
    """What is installed, as far as the tagger minds."""

    wheels: dict[str, str]
    driver: int | None
    gpu: str
    install: str
    repair: str

    def says(self, provider: str) -> tuple[str, str]:
        """Where the model will run, and the role of these words: `bad` when it is not what the machine could do."""
        version = next(iter(self.wheels.values()), "")
        if not self.wheels:
            return "onnxruntime is not installed", "bad"
        if provider == "cpu":
            return f"CPU, as asked · onnxruntime {version}", "muted"
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
        return "nvidia-smi" if self.driver is None else self.repair


@dataclass(frozen=True, slots=True)
class Known:
    """What a thread found out."""

    datasets: dict[str, str]
    counts: dict[str, int]
    models: tuple[TaggerModel, ...]
    machine: Machine | None


def look_around(workspace: Workspace | None, settings: Settings, model: str | None) -> Known:
    """Datasets, models and the machine; reads folders: on a thread."""
    from core.hardware import read_gpus
    from core.problems import UserError
    from core.tagging.models import find_model, list_models
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
    models = sorted(list_models(workspace, settings), key=lambda each: not each.is_on_disk)
    if model and model not in {each.name for each in models}:
        with contextlib.suppress(UserError):
            models.append(find_model(model, workspace, settings))
    driver = driver_version()
    gpus = read_gpus().gpus if driver is not None else ()
    machine = Machine(
        installed_wheels(), driver, next((gpu.name or "" for gpu in gpus), ""), install_command(), repair_command()
    )
    return Known(notes, counts, tuple(models), machine)


class Changes(ItemList):
    """The preview: tags that captions would gain or lose. The cursor is seen only with the focus."""

    def tell(self, preview: Preview | None, threshold: str) -> None:
        """Show it; None empties the panel."""
        if preview is None:
            self.set_rows(Texts())
            return
        width = max(20, self.size.width - 1)
        room = max(8, width - 24)
        rows: list[Cells] = [
            [(" Preview from stored scores", "accent")],
            [(f" {'tag':<{room}}{'now':>6}{threshold:>8}{'change':>8}", "muted")],
        ]
        for change in preview.changes[:500]:
            role = "good" if change.change > 0 else "bad"
            rows.append(
                [
                    (f" {fit(printable(change.tag), room)}", "text"),
                    (f"{change.now:>6,}{change.then:>8,}", "muted"),
                    (f"{change.change:>+8,}", role),
                ]
            )
        if not preview.changes:
            rows.append([(" the captions have these very tags", "muted")])
        else:
            parts = [f"+{preview.added:,}"] if preview.added else []
            parts += [f"−{preview.removed:,}"] if preview.removed else []
            rows.insert(1, [(f" {' '.join(parts)} tags in {count_of(preview.captions, 'caption')}", "text")])
        if preview.unscored:
            rows.insert(1, [(f" {count_of(preview.unscored, 'image')} more without stored scores", "muted")])
        self.set_rows(Texts(rows), 0)

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        cells = self.rows.cells(index, self.size.width) if index < len(self.rows) else []
        on = "cursor" if self.has_focus and index == self.cursor else "background"
        return self.app.paint.strip(cells, self.size.width, on).simplify()


def below(
    request: TagRequest | None, known: Known, run: WatchedRun, starting: str | None, width: int, height: int
) -> list[Cells]:
    """The lines under the form: the run of this dataset or the one that goes on, or else what R would do."""
    lines: list[Cells] = []
    machine, seen = known.machine, run.seen
    if starting is not None:
        lines = [[(f" {starting}", "accent")]]
    elif request is None or not request.target:
        lines = [[(f" {NO_IMAGES}", "text")]] if machine is not None else []
    elif seen is not None and (run.is_live or seen[0].run.spec.dataset == request.target):
        lines = run_lines(*seen, run.last_line, width, height)
    else:
        count = known.counts.get(request.target)
        told = f" tags {count_of(count, 'image')}" if count else " starts"
        lines = [[(" R", "accent"), (f"{told}; existing captions: {POLICY_NOTES[request.policy]}", "text")]]
    if machine is not None and request is not None and starting is None and not run.is_live:
        remedy = machine.remedy(request.provider)
        if remedy is not None:
            lines[1:1] = [[(f" ✗ {machine.says(request.provider)[0]}. ", "bad"), (remedy, "text")]]
    return [cut(line, width) for line in lines[:height]]


def run_lines(seen: RunSnapshot, results: TagResult, last_line: str, width: int, height: int) -> list[Cells]:
    """A tag run: bar and numbers, what it does or what comes next, where it ran, the files that failed."""
    state = str(seen.run.status.state)
    done, total = seen.step or 0, seen.total_steps or 0
    going = state in {"queued", "prepared", "running", "stopping"}
    role = {"running": "accent", "finished": "good", "failed": "bad", "lost": "bad", "stopped": "caution"}.get(
        state, "muted"
    )
    room = min(BAR, max(10, width - 66))
    filled = int(room * done / total) if total else 0
    line: Cells = [(" ", "text"), ("█" * filled, role), ("░" * (room - filled), "rule")]
    line += [(f"  {done:,}/{total:,}" if total else "", "text"), (f"  {state}", role)]
    if seen.rate:
        line.append((f"  {seen.rate:.1f} img/s", "muted"))
    if seen.eta_seconds is not None and state == "running":
        line.append((f"  {human_seconds(seen.eta_seconds)} left", "muted"))
    if results.failed:
        line.append((f"  {len(results.failed):,} failed: !", "bad"))
    if results.skipped:
        line.append((f"  {results.skipped:,} skipped", "muted"))
    lines: list[Cells] = [line]
    if going and not total:
        lines.append([(f" {printable(last_line) or 'starting …'}", "text")])
    elif going:
        lines.append([(" It goes on without the app. ", "muted"), ("X", "accent"), (" stops it.", "muted")])
    elif state == "finished" or (state == "failed" and results.tagged):
        lines.append(
            [
                (" Next: ", "text"),
                *_key("3", "review the captions"),
                *_key("4", "make a config"),
                *_key("u", "takes this pass back"),
            ]
        )
    elif seen.reason:
        lines.append([(f" {printable(seen.reason)}", "bad" if state in {"failed", "lost"} else "text")])
        if state == "stopped" and results.tagged:
            lines[-1].append(("  What was written stays; u takes it back.", "muted"))
    if results.fallback:
        lines.append([(" ✗ ", "bad"), (printable(results.fallback), "bad")])
    for path, reason in results.failed[-max(1, height - len(lines) - 1) :]:
        lines.append([(f" ✗ {printable(path.rsplit('/', 1)[-1])}  ", "bad"), (printable(reason), "muted")])
    if results.provider and len(lines) < height:
        told = [seen.run.id, results.provider.upper(), results.model or ""]
        lines.append([(" " + printable(" · ".join(filter(None, told))), "muted")])
    return lines


def _key(key: str, text: str) -> Cells:
    return [(key, "accent"), (f" {text}   ", "muted")]
