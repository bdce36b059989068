"""What the keys of the Monitor screen need, in words: said when one is pressed where it can do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.text import printable
from tui.screens.monitor_parts import ENDED, is_tagging
from tui.screens.monitor_queue import is_queued

if TYPE_CHECKING:
    from core.runs.model import Run

_NEEDS_A_RUN = frozenset(
    {"overlay", "samples", "diff", "checkpoints", "stop", "resume", "compare", "move_run", "hold", "start_now"}
)
_OF_AN_OPEN_RUN = {
    "overlay": "O lays another run over its chart.",
    "samples": "S shows its pictures.",
    "checkpoints": "⏎ then lists its checkpoints.",
}
_NOT_OF_A_TAG_RUN = {
    "overlay": "A tag run has no chart.",
    "samples": "A tag run draws no samples.",
    "diff": "A tag run has no config.",
    "checkpoints": "A tag run saves no checkpoints.",
    "resume": "A tag run is not continued. Tag again (2): what is tagged stays.",
}


@dataclass(frozen=True, slots=True)
class Here:
    """The run that a key would act on, and what is known of it. `is_open`: it is shown, not only listed."""

    run: Run | None = None
    is_open: bool = False
    leads_on: bool = False
    """It has a state to go on from."""
    has_checkpoints: bool = False
    has_samples: bool = False


def why_not(action: str, here: Here) -> str | None:
    """Why a key does nothing here; None when it does."""
    run = here.run
    if action not in _NEEDS_A_RUN:
        return None
    if run is None:
        return "There is no run here. R in Config (4) starts one."
    name, state = printable(run.spec.name), str(run.state)
    if is_tagging(run) and action in _NOT_OF_A_TAG_RUN:
        return _NOT_OF_A_TAG_RUN[action]
    if not here.is_open and action in _OF_AN_OPEN_RUN:
        return f"Open the run first (⏎): {_OF_AN_OPEN_RUN[action]}"
    if action == "checkpoints" and not here.has_checkpoints:
        return f"{name} saved no checkpoint." if state in ENDED else f"{name} has saved no checkpoint yet."
    if action == "samples" and not here.has_samples:
        return f"{name} has drawn no samples. sample_every_n_epochs in its config asks for them."
    if action == "stop" and state in ENDED:
        return f"{name} has ended already."
    if action == "resume":
        return _why_not_resumed(here, name, state)
    if action in {"move_run", "hold", "start_now"} and not is_queued(run):
        return f"{name} does not wait in the queue."
    if action == "compare" and run.spec.group is None:
        return f"{name} is not one of a sweep. Config (4) makes one: R, then Sweep …"
    return None


def _why_not_resumed(here: Here, name: str, state: str) -> str | None:
    if is_queued(here.run):
        return f"{name} has not begun: R starts it now."
    if state not in ENDED:
        return f"{name} still goes on. C continues a run that has ended."
    if here.leads_on:
        return None
    further = "⏎ and R train one of its checkpoints further. " if here.has_checkpoints or not here.is_open else ""
    return (
        f"{name} saved no state to go on from. {further}save_state = true in the config keeps one with each checkpoint."
    )
