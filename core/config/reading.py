"""TOML as sd-scripts reads it: errors with line and column, flattening, and what toml 0.10.2 takes differently."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from core.problems import UserError


def read_toml(text: str, file: str) -> dict[str, Any]:
    """The values of `text`, without a byte order mark. UserError naming `file`, line and column when it is not TOML."""
    plain = text.removeprefix("\ufeff")
    try:
        values = tomllib.loads(plain)
    except tomllib.TOMLDecodeError as error:
        raise toml_error(plain, file, str(error)) from None
    except RecursionError:
        raise UserError(f"{file}: it is nested too deeply", "Correct it in the raw editor.") from None
    nul = re.search(r"\\u0000|\\U0{8}", plain)
    if nul is not None:
        line = plain.count("\n", 0, nul.start()) + 1
        raise UserError(f"{file}, line {line}: a NUL character cannot stand in a name or path", "Remove \\u0000.")
    return values


def toml_error(text: str, file: str, message: str) -> UserError:
    """The sentence for a TOML error, with the line quoted and what usually mends it."""
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    if found is None:
        lines = text.rstrip("\n").count("\n") + 1
        reason = message.removesuffix("(at end of document)").strip()
        hint = "Something before it is not closed, or a key is there twice."
        return UserError(f"{file}, line {lines}: {reason}", hint)
    number, column = int(found[1]), int(found[2])
    lines_of_text = text.split("\n")
    line = lines_of_text[number - 1].strip() if number <= len(lines_of_text) else ""
    reason = message[: found.start()].strip()
    hint = f"The line is: {line[:100]}"
    if "\\" in line:
        hint += " — write paths with a backslash in 'single quotes'."
    elif "overwrite" in reason or "twice" in reason:
        hint += " — the key is there twice in this section."
    elif reason.startswith("Invalid value"):
        hint += ' — text needs "quotes"; truth values are true and false in small letters.'
    return UserError(f"{file}, line {number}, column {column}: {reason}", hint)


def flatten(data: dict[str, Any]) -> dict[str, Any]:
    """One level of tables removed; section names mean nothing (train_util.py, read_config_from_file)."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            flat.update(value)
        else:
            flat[name] = value
    return flat


def mixed_arrays(value: Any, where: str = "") -> Iterator[str]:
    """The keys whose list holds several kinds, such as `[1, 2.5]`: the trainer's reader, toml 0.10.2, refuses them."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from mixed_arrays(item, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list):
        if len({type(item) for item in value}) > 1:
            yield where
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from mixed_arrays(item, f"{where}[{index}]")
