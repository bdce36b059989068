"""The lines under the form: what `R` would do, what stands against it, the run that goes on or has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.problems import UserError
from core.text import count_of, human_bytes, human_seconds, printable
from tui.screens.tag_parts import NO_IMAGES, Known
from tui.screens.tag_run import is_about
from tui.theme import Cells
from tui.widgets.gauges import wrapped
from tui.widgets.line import cut

if TYPE_CHECKING:
    from core.dataset.upright import UprightPlan
    from core.runs.watch import RunSnapshot
    from core.tagging.options import TagRequest
    from core.tagging.plan import TagPlan
    from core.tagging.results import TagResult
    from tui.screens.tag_models import Fetching
    from tui.screens.tag_run import WatchedRun

BAR = 36
_ROLES = {"running": "accent", "finished": "good", "failed": "bad", "lost": "bad", "stopped": "caution"}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the next start."""

    plan: TagPlan | None = None
    refusal: UserError | None = None
    """Why it would be refused: another run tags these images, or there is no such dataset."""
    upright: UprightPlan | None = None
    starting: str | None = None
    fetching: Fetching | None = None
    has_ended: bool = False
    """Whether a run ended while this screen watched: the result of a dry run is news then."""
    is_run_shown: bool = True
    """Whether the run that has ended comes before what `R` would do: nothing was changed since."""


def below(
    request: TagRequest | None, known: Known, run: WatchedRun, outlook: Outlook, width: int, height: int
) -> list[Cells]:
    """All lines that fit, the important ones first."""
    seen = run.seen
    lines: list[Cells] = []
    is_told = False
    if outlook.starting is not None:
        lines.append([(f" {outlook.starting}", "accent")])
    elif run.is_live:
        lines += run_lines(*seen, run, width, height) if seen is not None else [[(" starting …", "accent")]]
    elif request is None or not request.target:
        lines += [[(f" {NO_IMAGES}", "text")]] if known.machine is not None else []
    else:
        is_ours = seen is not None and is_about(seen[0].run, request) and run.undo != "undone"
        is_news = outlook.has_ended or (seen is not None and not seen[1].dry_run)
        if seen is not None and is_ours and is_news and outlook.is_run_shown:
            told = start_lines(request, known, outlook, width)[:1]
            reading, results = seen
            if known.machine is not None and known.machine.remedy(request.provider) is not None:
                results = replace(results, fallback=None)  # `warnings` says it, with the remedy
            lines += [*run_lines(reading, results, run, width, height - 1)[: height - 1], *told]
            is_told = True
        else:
            lines += start_lines(request, known, outlook, width)
            if run.undo == "undone" and seen is not None and is_about(seen[0].run, request):
                lines.append(
                    [(" The last pass was taken back; ", "muted"), ("U", "accent"), (" does it again", "muted")]
                )
    if outlook.fetching is not None:
        lines[1:1] = [outlook.fetching.cells(width)]
    if not run.is_live and outlook.starting is None:
        warned = warnings(request, known, outlook, width, max(1, height - 1))
        at = 2 if len(lines) > 1 and is_told else 1
        lines[at:at] = warned
    return [cut(line, width) for line in lines[:height]]


def start_lines(request: TagRequest, known: Known, outlook: Outlook, width: int) -> list[Cells]:
    """What `R` would do, and what `d`."""
    plan, refusal = outlook.plan, outlook.refusal
    if refusal is not None:
        text = f"{refusal.message}. {refusal.hint or ''}"
        return [
            [(f" {'✗ ' if number == 0 else '  '}{line}", "bad")]
            for number, line in enumerate(wrapped(text, width - 4, 3))
        ]
    line: Cells = [(" R", "accent")]
    if plan is None:
        count = known.counts.get(request.target)
        line.append((f" tags {count_of(count, 'image')}" if count else " starts", "text"))
        return [line]
    line.append((f" tags {count_of(plan.images, 'image')}", "text"))
    if request.output_path:
        line.append((f" into {printable(request.output_path)}", "text"))
    elif plan.captions:
        what = "captions" if plan.captions > 1 else "caption"
        verb = "are" if plan.captions > 1 else "is"
        done = "written anew" if plan.policy == "overwrite" else "added to"
        line.append((f"; {plan.captions:,} {what} {verb} {done}", "text"))
    if plan.reviewed:
        line.append((f", {plan.reviewed:,} of them reviewed", "caution"))
    if plan.skipped:
        line.append((f"; {plan.skipped:,} left alone", "muted"))
    dry: Cells = [(" d", "accent"), (" tries it out: makes scores, writes no caption", "muted")]
    return [line, dry]


def warnings(request: TagRequest | None, known: Known, outlook: Outlook, width: int, room: int) -> list[Cells]:
    """What should be known before the start: the provider in the colour for bad, broken descriptors, turned images."""
    lines: list[Cells] = []
    if request is not None and known.machine is not None:
        remedy = known.machine.remedy(request.provider)
        if remedy is not None:
            said = known.machine.says(request.provider)[0]
            told = [*wrapped(f"✗ {said}.", width - 2, 2)]
            lines += [[(f" {line}", "bad")] for line in told]
            is_check = remedy == "nvidia-smi"
            text = f"Check it with: {remedy}" if is_check else f"{remedy}   (y copies it)"
            lines += [[(f"   {line}", "text")] for line in wrapped(text, width - 4, 3)]
    if known.problem is not None:
        text = f"✗ {known.problem.message}. {known.problem.hint or ''}"
        lines += [[(f" {printable(line)}", "bad")] for line in wrapped(text, width - 2, 2)]
    turned = outlook.upright
    if turned is not None and turned.images:
        count, one = len(turned.images), len(turned.images) == 1
        where = ", and not by the trainer" if width >= 100 else ""
        said = (
            f" ! {count:,} of {count_of(turned.looked_at, 'image')} {'is' if one else 'are'} turned by viewers{where}: "
        )
        lines.append([(said, "caution"), ("F", "accent"), (f" saves {'it' if one else 'them'} upright", "text")])
    return lines[:room]


def run_lines(seen: RunSnapshot, results: TagResult, run: WatchedRun, width: int, height: int) -> list[Cells]:
    """A tag run: bar and numbers, what limits it or what comes next, where it ran, the files that failed."""
    state = str(seen.run.status.state)
    done, total = seen.step or 0, seen.total_steps or 0
    going = state in {"queued", "prepared", "running", "stopping"}
    role = _ROLES.get(state, "muted")
    word = "dry run" if results.dry_run and state in {"running", "finished"} else state
    tail: Cells = [(f"  {done:,}/{total:,}" if total else "", "text"), (f"  {word}", role)]
    if seen.rate:
        tail.append((f"  {_rate(seen.rate)} img/s", "muted"))
    if seen.eta_seconds is not None and state == "running":
        tail.append((f"  {human_seconds(seen.eta_seconds)} left", "text"))
    if results.failed:
        tail.append((f"  {len(results.failed):,} failed: !", "bad"))
    if results.skipped:
        tail.append((f"  {results.skipped:,} skipped", "muted"))
    room = min(BAR if width < 160 else 2 * BAR, max(10, width - 4 - sum(len(text) for text, _ in tail)))
    filled = int(room * done / total) if total else 0
    lines: list[Cells] = [[(" ", "text"), ("█" * filled, role), ("░" * (room - filled), "rule"), *tail]]
    if going and not total:
        lines.append([(f" {printable(run.last_line) or 'starting …'}", "text")])
    elif going:
        lines += _pace(results, width)
        lines.append([(" It goes on without the app. ", "muted"), ("X", "accent"), (" stops it.", "muted")])
    elif results.dry_run and state == "finished":
        lines.append(_dry(results))
    elif state == "finished" or (state == "failed" and results.tagged):
        line: Cells = [(" Next: ", "text"), *_key("3", "review the captions"), *_key("4", "make a config")]
        lines.append([*line, *(_key("u", "takes this pass back") if run.undo == "next" else [])])
        lines += _pace(results, width)
    elif seen.reason:
        role = "bad" if state in {"failed", "lost"} else "text"
        lines += [[(f" {line}", role)] for line in wrapped(printable(seen.reason), width - 2, 3)]
        if state == "stopped" and results.tagged and not results.dry_run:
            back = "; u takes it back" if run.undo == "next" else ""
            lines[-1].append((f"  What was written stays{back}.", "muted"))
    if results.fallback:
        lines += [
            [(f" {'✗ ' if not number else '  '}{line}", "bad")]
            for number, line in enumerate(wrapped(printable(results.fallback), width - 4, 3))
        ]
    for path, reason in results.failed[-max(1, height - len(lines) - 1) :]:
        name = path.rsplit("/", 1)[-1]
        why = reason.replace(path, name).removeprefix(f"{name} ")
        lines.append([(f" ✗ {printable(name)}  ", "bad"), (printable(why), "muted")])
    if results.provider and len(lines) < height:
        told = [seen.run.id, results.provider.upper(), results.model or ""]
        lines.append([(" " + printable(" · ".join(filter(None, told))), "muted")])
    return lines


def _pace(results: TagResult, width: int) -> list[Cells]:
    """Which side limits, tags a second, the shares."""
    line: Cells = []
    if results.limited_by:
        line.append((f" limited by {printable(results.limited_by)}", "second"))
    told = []
    if results.tags_per_second:
        told.append(f"{_rate(results.tags_per_second)} tags/s")
    if results.decode_share is not None and results.model_share is not None and not results.done:
        told.append(f"decoding {results.decode_share:.0%} busy, model {results.model_share:.0%}")
    if results.known:
        told.append(f"{results.known:,} from stored scores")
    if told:
        line.append((("   " if line else " ") + " · ".join(told), "muted"))
    return [line] if line else []


def _dry(results: TagResult) -> Cells:
    added = sum(len(each.added) for each in results.changes)
    removed = sum(len(each.removed) for each in results.changes)
    if not results.changes:
        return [(" The captions have these very tags: there is nothing to write.", "text")]
    line: Cells = [(f" {count_of(len(results.changes), 'caption')} would change: ", "text")]
    line += [(f"+{added:,} ", "good")] if added else []
    line += [(f"−{removed:,} ", "bad")] if removed else []
    line.append(("tags   ", "text"))
    return [*line, *_key("R", "writes them"), *_key("tab", "shows them")]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def fetching_cells(name: str, done: int, total: int, rate: float | None, width: int) -> Cells:
    """A download in one line."""
    room = min(BAR, max(8, width - 60))
    filled = int(room * done / total) if total else 0
    line: Cells = [(" ", "text"), ("█" * filled, "second"), ("░" * (room - filled), "rule")]
    line.append((f"  fetching {printable(name).rpartition('/')[2]}", "text"))
    if total:
        line.append((f"  {human_bytes(done)} of {human_bytes(total)}", "text"))
    if rate:
        left = f"  {human_seconds((total - done) / rate)} left" if total > done else ""
        line.append((f"  {human_bytes(rate)}/s{left}", "muted"))
    return [*line, ("  X", "accent"), (" stops it", "muted")]


def _key(key: str, text: str) -> Cells:
    return [(key, "accent"), (f" {text}   ", "muted")]
