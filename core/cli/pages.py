"""What `--help` prints: a command, its words and its options in plain lines, the same under every version of typer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

ACCENT, BOLD, END = "\x1b[36m", "\x1b[1m", "\x1b[0m"


def _is_coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _styled(text: str, style: str) -> str:
    return f"{style}{text}{END}" if _is_coloured() else text


def _is_argument(param: Any) -> bool:
    return bool(param.param_type_name == "argument")


def _word(param: Any) -> str:
    """How an argument stands in the usage: SOURCE…, [RUN]."""
    name = (param.metavar or str(param.name).rstrip("_").upper()).strip("[]")
    if param.nargs != 1 and not name.endswith("…"):
        name += "…"
    return name if param.required else f"[{name}]"


def _option(param: Any) -> str:
    names = ", ".join(sorted([*param.opts, *param.secondary_opts], key=lambda name: name.startswith("--")))
    if param.is_flag or getattr(param, "count", False):
        return names
    return f"{names} {param.metavar or str(param.name).rstrip('_').rpartition('_')[2].upper()}"


def _about(param: Any) -> str:
    text = (getattr(param, "help", None) or "").strip()
    if param.required and not _is_argument(param):
        text += " Needed."
    shown, default = getattr(param, "show_default", False), param.default
    if shown and default and not getattr(param, "is_flag", False) and not callable(default):
        text += f" [{shown if isinstance(shown, str) else default}]"
    return text.strip()


def _rows(formatter: Any, title: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        formatter.write(f"\n{_styled(title, BOLD)}\n")
        formatter.indent()
        formatter.write_dl([(_styled(name, ACCENT), text) for name, text in rows], col_max=26)
        formatter.dedent()


def _first_sentence(command: Any) -> str:
    """What a list of commands says of one."""
    text = " ".join((command.short_help or command.help or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].removesuffix(".")


class Command(TyperCommand):
    """One command."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*(_word(param) for param in self.params if _is_argument(param)), "[OPTION]…"]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _head(self, ctx, formatter)
        _parameters(self, ctx, formatter)


class Group(TyperGroup):
    """Commands below a word, by the panel that they were registered with."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[-C FOLDER]", "[COMMAND] …"] if ctx.parent is None else ["[COMMAND] …"]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _head(self, ctx, formatter)
        names = self.list_commands(ctx)
        width = max(map(len, names), default=0)
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            if (command := self.get_command(ctx, name)) is not None and not command.hidden:
                panels.setdefault(_panel(command, "Commands"), []).append((name.ljust(width), _first_sentence(command)))
        for panel, rows in panels.items():
            _rows(formatter, panel, rows)
        _parameters(self, ctx, formatter)
        self.format_epilog(ctx, formatter)


def _head(command: Any, ctx: Any, formatter: Any) -> None:
    formatter.write(f"{_styled(ctx.command_path, BOLD)} {' '.join(command.collect_usage_pieces(ctx))}\n")
    for paragraph in _paragraphs(command.help or ""):
        formatter.write_paragraph()
        formatter.write_text(paragraph)


def _paragraphs(text: str) -> Iterable[str]:
    return (" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def _parameters(command: Any, ctx: Any, formatter: Any) -> None:
    params = [param for param in command.get_params(ctx) if not getattr(param, "hidden", False)]
    words = [(_word(param), _about(param)) for param in params if _is_argument(param)]
    _rows(formatter, "Words", [row for row in words if row[1]])
    panels: dict[str, list[tuple[str, str]]] = {"Options": []}
    for param in params:
        if not _is_argument(param):
            panels.setdefault(_panel(param, "Options"), []).append((_option(param), _about(param)))
    for panel, rows in panels.items():
        _rows(formatter, panel, rows)


def _panel(thing: Any, usual: str) -> str:
    name = getattr(thing, "rich_help_panel", None)
    return name if isinstance(name, str) else usual
