"""`notify`: by which ways the user is told of runs; tried, set up, and kept secret."""

from __future__ import annotations

import sys
import tomllib
from typing import Annotated, Any

import typer

from core.cli.main import JsonFlag, place_of
from core.cli.output import emit, problem_lines, say, table
from core.problems import UserError
from core.text import printable

notify_app = typer.Typer(help="Messages about runs. Alone: what is set up.", no_args_is_help=False)
Key = Annotated[str, typer.Argument(help="ntfy, command, on, bell, desktop, stall_minutes or disk_gb.")]
Secret = Annotated[str, typer.Argument(help="webhook or ntfy_token.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(notify_app, name="notify", rich_help_panel="Config and training")


@notify_app.callback(invoke_without_command=True)
def _shown(context: typer.Context, json_: JsonFlag = False) -> None:
    if context.invoked_subcommand is None:
        show(context, json_)


def show(context: typer.Context, json_: bool) -> None:
    """What is set up; of a secret only that there is one."""
    from core.runs import notify, vigil
    from core.settings import NOTIFY_EVENTS

    settings = place_of(context).settings()
    out = notify.ways(settings)
    for line in problem_lines(out.problems):
        say(line)
    document: dict[str, Any] = {
        "ways": list(out.names),
        "on": [event for event in NOTIFY_EVENTS if event in out.on],
        "command": list(out.command) or None,
        "ntfy": f"{out.ntfy[0]}{out.ntfy[1]}" if out.ntfy else None,
        "ntfy_token": out.ntfy_token is not None,
        "webhook": out.webhook is not None,
        "bell": settings.notify.get("bell", True),
        "desktop": settings.notify.get("desktop", True),
        "stall_minutes": settings.notify.get("stall_minutes", vigil.STALL_MINUTES),
        "disk_gb": settings.notify.get("disk_gb", vigil.DISK_GB),
    }
    rows = [("setting", "value"), *((name, _words(value)) for name, value in document.items() if name != "ways")]
    lines = table(rows)
    if not out.names:
        lines.append("Nothing is set up beyond the terminal. For example: kohya-tui notify set ntfy my-secret-topic")
    emit(document, lines, as_json=json_)


def _words(value: Any) -> str:
    if value is True:
        return "yes"
    if value in (False, None):
        return "–"
    return printable(", ".join(map(str, value)) if isinstance(value, list) else str(value))


@notify_app.command("test")
def test(context: typer.Context, json_: JsonFlag = False) -> None:
    """Send a message by every way that is set up. Exit status 1 when one fails."""
    from core.runs import notify

    out = notify.ways(place_of(context).settings())
    for line in problem_lines(out.problems):
        say(line)
    if not out.names:
        raise UserError("No way to tell you is set up", "For example: kohya-tui notify set ntfy my-secret-topic")
    sent = notify.send(notify.test_message(), out)
    rows = [("way", "", "answer")]
    rows += [(one.way, "sent" if one.ok else "failed", one.detail) for one in sent]
    found = [{"way": one.way, "ok": one.ok, "detail": one.detail, "seconds": round(one.seconds, 3)} for one in sent]
    emit({"sent": found}, table(rows), as_json=json_)
    if not all(one.ok for one in sent):
        raise typer.Exit(1)


@notify_app.command("set")
def set_(context: typer.Context, key: Key, value: Annotated[str, typer.Argument()], json_: JsonFlag = False) -> None:
    """Keep a setting in your own settings file. It works for all workspaces."""
    from core.settings import save_user_table, user_file

    if key in ("webhook", "ntfy_token"):
        raise UserError(f"{key} is a secret: on a command line others could read it", f"kohya-tui notify secret {key}")
    save_user_table("notify", key, _value(key, value))
    emit({"key": key, "file": str(user_file())}, [f"{key} is kept in {user_file()}"], as_json=json_)


@notify_app.command("unset")
def unset(context: typer.Context, key: Key, json_: JsonFlag = False) -> None:
    """Remove a setting (or a secret)."""
    from core.runs import notify
    from core.settings import save_user_table, user_file

    if key in notify.SECRETS:
        notify.save_secret(key, None)
        file = notify.secrets_file()
    else:
        save_user_table("notify", key, None)
        file = user_file()
    emit({"key": key, "file": str(file)}, [f"{key} is removed from {file}"], as_json=json_)


@notify_app.command("secret")
def secret(context: typer.Context, key: Secret, json_: JsonFlag = False) -> None:
    """Read a secret from the terminal (unseen) or standard input, and keep it in a file that only you can read."""
    from core.runs import notify

    if key not in notify.SECRETS:
        raise typer.BadParameter(f"{key!r} is none of {', '.join(notify.SECRETS)}")
    if sys.stdin.isatty():
        import getpass

        value = getpass.getpass(f"{key}: ")
    else:
        value = sys.stdin.readline()
    value = value.strip()
    if not value:
        raise UserError("Nothing was typed", f"kohya-tui notify unset {key} removes it.")
    if key == "webhook" and not value.startswith(("https://", "http://")):
        raise UserError("That is no web address", "It begins with https://")
    notify.save_secret(key, value)
    file = notify.secrets_file()
    emit({"key": key, "file": str(file)}, [f"{key} is kept in {file}"], as_json=json_)


def _value(key: str, text: str) -> Any:
    """As TOML where it is such (`true`, `10`, `["a", "b"]`), else as text; a list of words where one is wanted."""
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text
    if key == "on" and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if key in ("bell", "desktop", "stall_minutes", "disk_gb", "on", "command") else text
