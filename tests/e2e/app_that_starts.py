"""The app, which starts prepared runs as its own screens do: `python app_that_starts.py WORKSPACE RUN…`."""

from __future__ import annotations

import sys
from pathlib import Path

from core.runs import launch, store
from tui.__main__ import open_app
from tui.app import KohyaApp


def start_runs(app: KohyaApp) -> None:
    """On a thread of the app's, once it is up."""
    folders = [Path(text) for text in sys.argv[2:]]
    app.run_worker(lambda: [launch.start(store.observe(folder), timeout=30) for folder in folders], thread=True)


if __name__ == "__main__":
    usual = KohyaApp.on_ready

    def on_ready(app: KohyaApp) -> None:
        usual(app)
        start_runs(app)

    KohyaApp.on_ready = on_ready  # type: ignore[method-assign]
    sys.exit(open_app(Path(sys.argv[1])))
