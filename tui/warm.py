"""What the next keys will need, imported on a thread when the first dataset is read: an import in the midst of a key is
a stall of 50 to 200 ms.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module

NEXT = (
    "core.dataset.filter_match",
    "core.dataset.filter_complete",
    "core.dataset.orders",
    "core.dataset.tag_columns",
    "core.dataset.edits",
    "core.dataset.relocate",
    "core.dataset.batch_forms",
    "core.cli.filter_sources",
    "core.tagging.score_columns",
    "tui.widgets.filter_bar",
    "tui.screens.dialogs",
    "tui.screens.review",
    "textual.scrollbar",
    "tui.screens.tag",
    "core.runs.watch",
    "core.tagging.plan",
    "core.tagging.rethreshold",
    "core.dataset.upright",
    "importlib.metadata",
    "tui.screens.config",
    "tui.screens.config_catalogue",
    "core.config.preflight",
    "core.config.writing",
    "tomlkit",
    "core.runs.estimate",
    "tui.screens.monitor",
    "tui.screens.text_dialog",
    "tui.screens.tags",
    "tui.screens.batch",
    "tui.screens.checker",
    "tui.screens.moving",
    "tui.screens.buckets",
    "tui.screens.duplicates",
    "tui.screens.working",
)
"""In the order in which they are likely wanted."""
PAUSE = 0.02


def warm_up(is_wanted: Callable[[], bool]) -> None:
    """Import them while `is_wanted()`, with a pause after each for whoever waits for Python's lock."""
    for name in NEXT:
        if not is_wanted():
            return
        if name not in sys.modules:
            import_module(name)
            time.sleep(PAUSE)
