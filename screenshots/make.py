"""Write the pictures of every screen from the running demo: `python screenshots/make.py [NAME…]`.

A fresh demo workspace is made, its tagging and training really run, and each screen is taken when it has something to
show: an SVG (Textual's own export) and a PNG painted from the same cells. Takes about two minutes.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cells import capture, paint
from PIL import Image
from textual.pilot import Pilot

HERE = Path(__file__).parent
SIZE = (120, 40)


async def settle(pilot: Pilot[None], seconds: float = 1.0) -> None:
    """Wait until workers and drawing are done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await pilot.pause(0.1)


async def until(pilot: Pilot[None], ready: Callable[[], bool], seconds: float = 180) -> None:
    """Wait until `ready` holds."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise SystemExit("the demo did not get there in time")
        await pilot.pause(0.2)


def save(pilot: Pilot[None], name: str) -> None:
    """`name`.svg and `name`.png beside this script."""
    app = pilot.app
    (HERE / f"{name}.svg").write_text(app.export_screenshot(title="kohya-tui"), "utf-8")
    picture = paint(capture(app), app.size.width)
    picture.quantize(256, dither=Image.Dither.NONE).save(HERE / f"{name}.png", optimize=True)
    print(f"{name}: {(HERE / f'{name}.png').stat().st_size // 1000} kB")


async def dataset(pilot: Pilot[None]) -> None:
    await pilot.press("1")
    await settle(pilot, 1.5)
    await pilot.press("j", "j", "space", "j")
    await settle(pilot, 1.5)


async def review(pilot: Pilot[None]) -> None:
    await pilot.press("3")
    await settle(pilot, 2)
    await pilot.press("l", "l", "l", "j", "j", "j", "j")
    await settle(pilot, 2)


async def tag(pilot: Pilot[None]) -> None:
    await pilot.press("2")
    await settle(pilot, 2)


async def config(pilot: Pilot[None]) -> None:
    await pilot.press("4")
    await settle(pilot, 2)
    await pilot.press(*"jjjjj")
    await settle(pilot, 1)


async def config_raw(pilot: Pilot[None]) -> None:
    await pilot.press("4")
    await settle(pilot, 1)
    await pilot.press("ctrl+t")
    await settle(pilot, 2)


async def monitor(pilot: Pilot[None]) -> None:
    await pilot.press("5")
    await settle(pilot, 3)


async def samples(pilot: Pilot[None]) -> None:
    await pilot.press("5")
    await settle(pilot, 1)
    await pilot.press("S")
    await settle(pilot, 2)


async def help_panel(pilot: Pilot[None]) -> None:
    await pilot.press("3")
    await settle(pilot, 1)
    await pilot.press("question_mark")
    await settle(pilot, 1)


Scene = Callable[[Pilot[None]], Awaitable[None]]
SCENES: dict[str, tuple[Scene, tuple[int, int], str]] = {
    "tag": (tag, SIZE, "night"),
    "dataset": (dataset, SIZE, "night"),
    "review": (review, SIZE, "night"),
    "config": (config, SIZE, "night"),
    "config-raw": (config_raw, SIZE, "night"),
    "monitor": (monitor, SIZE, "night"),
    "samples": (samples, SIZE, "night"),
    "help": (help_panel, SIZE, "night"),
    "review-day": (review, SIZE, "day"),
    "monitor-day": (monitor, SIZE, "day"),
    "review-80x24": (review, (80, 24), "night"),
    "monitor-80x24": (monitor, (80, 24), "night"),
    "monitor-200x60": (monitor, (200, 60), "night"),
}

MIKA = ("tag", "review", "review-80x24", "review-day", "help")
"""Pictures of the dataset that the demo tags: it has scores."""


async def main(names: list[str]) -> None:
    """Take the named pictures, or all."""
    home = Path(tempfile.mkdtemp())
    os.environ |= {"HOME": str(home)} | {
        f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "CACHE", "STATE")
    }
    from core.demo.workspace import make_demo, start_runs
    from core.runs.model import RunState
    from core.runs.store import list_runs
    from core.runs.watch import snapshot
    from core.settings import load
    from tui.app import KohyaApp
    from tui.graphics import Choice

    workspace = make_demo(home / "kohya-tui-demo")
    settings = load(workspace.root)
    started = start_runs(workspace, settings)
    train = next(run for run in started if run.spec.kind == "train")

    def epoch() -> int:
        return snapshot(next(run for run in list_runs(workspace) if run.id == train.id)).epoch or 0

    def tagged() -> bool:
        return all(run.state is RunState.FINISHED for run in list_runs(workspace) if run.spec.kind == "tag")

    for name, (scene, size, theme) in SCENES.items():
        if names and name not in names:
            continue
        app = KohyaApp(workspace, load(workspace.root, flags={"theme": theme}), Choice("blocks", "for the picture"))
        app.active_dataset = "mika" if name in MIKA else "rinni"
        async with app.run_test(size=size) as pilot:
            if name.startswith(("monitor", "samples")):
                await until(pilot, lambda: epoch() >= 6)
            if name in MIKA:
                await until(pilot, tagged)
            await settle(pilot, 1)
            await scene(pilot)
            app.clear_notifications()
            await settle(pilot, 0.5)
            save(pilot, name)
    from core.runs.launch import stop

    stop(train, "stop-now")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
