"""`demo`, `init` and `help`."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from core.cli.main import JsonFlag, place_of
from core.cli.output import emit, put, say
from core.problems import UserError
from core.text import printable

PANEL = "Workspace"
TOPICS = Path(__file__).parent.parent / "help"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("demo", rich_help_panel=PANEL)(demo)
    app.command("init", rich_help_panel=PANEL)(init)
    app.command("help", rich_help_panel="Help and machine")(show_help)


def demo(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the demo workspace is made.", show_default=True)
    ] = Path("kohya-tui-demo"),
    no_app: Annotated[bool, typer.Option("--no-app", help="Make the workspace, start and open nothing.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Make a demo workspace and open the app on it. Drawn images, a small tagger, a small trainer."""
    from core.demo.workspace import make_demo

    if sys.stderr.isatty() and not folder.exists():
        say(f"Drawing the demo in {printable(str(folder))} …")  # takes seconds
    workspace = make_demo(folder)
    if no_app or json_:
        emit({"workspace": str(workspace.root)}, [f"The demo is in {printable(str(workspace.root))}"], as_json=json_)
        return
    open_app = context.find_root().meta.get("open_app") or _open_app
    raise typer.Exit(open_app(["-C", str(workspace.root), "--demo"]))


def _open_app(arguments: list[str]) -> int:
    """The app is a program of its own to core: the same interpreter runs it in place of this one."""
    import os

    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "tui", *arguments])


def init(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", show_default=False)] = None,
    json_: JsonFlag = False,
) -> None:
    """Make a workspace around what is there. Nothing that exists is changed."""
    from core.workspace import create

    workspace = create(folder or place_of(context).folder or Path())
    names = workspace.dataset_names()
    lines = [f"The workspace is {printable(str(workspace.root))}"]
    if names:
        lines.append(f"Datasets found: {', '.join(printable(name) for name in names)}")
    else:
        lines.append("Next: kohya-tui import NAME SOURCE… brings images in.")
    emit({"workspace": str(workspace.root), "datasets": names}, lines, as_json=json_)


def show_help(
    topic: Annotated[str | None, typer.Argument(metavar="[TOPIC]", show_default=False)] = None,
) -> None:
    """The documentation, in the terminal."""
    topics = {path.stem: path for path in sorted(TOPICS.glob("*.md"))}
    if topic is None:
        lines = ["Topics (kohya-tui help TOPIC; the first to read is start):", ""]
        width = max(map(len, topics), default=0)
        for name, path in topics.items():
            title = path.read_text("utf-8").splitlines()[0].lstrip("# ")
            lines.append(f"  {name:<{width}}  {title}")
        emit({}, lines, as_json=False)
        return
    if topic not in topics:
        near = get_close_matches(topic, topics, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Topics: {', '.join(topics)}"
        raise UserError(f"There is no help topic {topic!r}", hint)
    text = topics[topic].read_text("utf-8")
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        put(text, end="")
