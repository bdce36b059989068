"""How long a screen takes to open, the first time and again, in the running app."""

from __future__ import annotations

import gc
import time

from core.settings import load
from core.workspace import Workspace
from tests.benchmarks.conftest import Note
from tui.app import KohyaApp
from tui.graphics import Choice

MODES = ("tag", "review", "config", "monitor", "dataset")


async def test_mode_switches(demo: Workspace, note: Note) -> None:
    """From the key to the settled screen; the first time includes the imports that `tui.warm` did not reach yet."""
    gc.disable()  # as `open_app` does: the app's own collector works while the keys rest
    app = KohyaApp(demo, load(demo.root), Choice("blocks", "a benchmark"))
    times: dict[str, list[float]] = {mode: [] for mode in MODES}
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(2.0)
        for _ in range(3):
            for mode in MODES:
                began = time.process_time()
                await app.action_mode(mode)
                await pilot.pause()
                times[mode].append((time.process_time() - began) * 1000)
    print()
    for mode, (first, *again) in times.items():
        print(f"{mode}: {first:.0f} ms CPU the first time, {min(again):.0f} ms again")
        note(**{f"open_{mode}_first_ms": first, f"open_{mode}_again_ms": min(again)})
