"""The entry point: without a command the app, with one the headless commands of core.cli."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

FLAGS = {"--theme": "theme", "--images": "images"}


def main(argv: list[str] | None = None) -> int:
    """Exit status as promised in `kohya-tui --help`: 143 and 129 after SIGTERM and SIGHUP."""
    arguments = sys.argv[1:] if argv is None else argv
    request = app_request(arguments)
    if request is None or "_KOHYA_TUI_COMPLETE" in os.environ:  # the shell's completion asks without a word
        from core.cli.main import main as run_command

        return int(run_command(arguments) or 0)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(
            "kohya-tui: the app needs a terminal\n  For scripts there are commands: kohya-tui --help", file=sys.stderr
        )
        return 1
    folder, flags = request
    return open_app(folder, flags, demo=bool(flags.pop("demo", False)))


def app_request(arguments: list[str]) -> tuple[Path | None, dict[str, Any]] | None:
    """The folder and the settings when the arguments ask for the app; None when there is a command or anything else."""
    folder: Path | None = None
    flags: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in {"-C", "--workspace", *FLAGS}:
            if not equals:
                if not rest:
                    return None
                value = rest.pop(0)
            if name in FLAGS:
                flags[FLAGS[name]] = value
            else:
                folder = Path(value)
        elif word == "--demo":  # what `kohya-tui demo` opens the app with
            flags["demo"] = True
        elif word.startswith("-C") and len(word) > 2:
            folder = Path(word[2:])
        else:
            return None
    return folder, flags


def open_app(folder: Path | None = None, flags: dict[str, Any] | None = None, *, demo: bool = False) -> int:
    """Run the app on a workspace until the user quits; with `demo` it starts tagging and training by itself.

    A folder that is no workspace opens with the two choices of a first run; one that is missing is an error (status 1).
    """
    # What is made until the first frame stays: looking for garbage in it costs a tenth of the start. The app switches
    # the collector on again (`KohyaApp._settle_in`).
    gc.disable()
    # A thread that counts or plans lets the screen's thread go on after 1 ms instead of 5: a frame has 16.
    sys.setswitchinterval(0.001)

    from core import settings, workspace
    from core.problems import UserError

    try:
        place = workspace.open_workspace(folder)
    except UserError as error:
        if folder is not None and not folder.is_dir():
            print(error, file=sys.stderr)
            return 1
        place = None
    chosen = settings.load(place.root if place else None, flags=flags)

    from tui import graphics

    picture = graphics.detect(chosen.images)

    from tui.app import KohyaApp

    app = KohyaApp(place, chosen, picture, demo=demo)
    app.start_folder, app.beat.flags = (folder or Path.cwd()).absolute(), flags or {}
    app.run()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
