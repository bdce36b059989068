"""TOML as sd-scripts reads it: errors with line and column, flattening, and what toml 0.10.2 takes differently."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from core.problems import UserError

LARGEST = 1_000_000
"""Characters of a file that is read; the largest config seen has 40,000."""
DEEPEST = 40
_HUGE = 10**300  # a float can hold it
_YAML = re.compile(r"[\w-]+:(\s|$)")


def read_toml(text: str, file: str) -> dict[str, Any]:
    """The values of `text`, without a byte order mark. UserError naming `file`, line and column when it is not TOML."""
    plain = text.removeprefix("\ufeff")
    if len(plain) > LARGEST:
        raise too_large(file, len(plain))
    try:
        values = tomllib.loads(plain)
    except tomllib.TOMLDecodeError as error:
        raise toml_error(plain, file, str(error)) from None
    except RecursionError:
        raise _too_deep(file) from None
    except ValueError as error:  # Python itself refuses to read a whole number of more than 4300 digits
        raise UserError(f"{file}: {error}", "No option takes such a number.") from None
    _refuse_the_absurd(values, file)
    nul = re.search(r"\\u0000|\\U0{8}", plain)
    if nul is not None:
        line = plain.count("\n", 0, nul.start()) + 1
        raise UserError(f"{file}, line {line}: a NUL character cannot stand in a name or path", "Remove \\u0000.")
    return values


def too_large(file: str, size: int) -> UserError:
    """What is said of a file that no config can be: it is neither parsed (a second a megabyte) nor shown."""
    megabytes = f"{size / 1_000_000:.1f} MB"
    return UserError(f"{file} has {megabytes}: a config has a few kB", "This is another file; it is left as it is.")


def _refuse_the_absurd(values: dict[str, Any], file: str) -> None:
    """UserError for what would overflow a number or the stack of whoever looks at it."""
    waiting: list[tuple[Any, int]] = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > DEEPEST:
            raise _too_deep(file)
        if isinstance(value, dict | list):
            inside = value.values() if isinstance(value, dict) else value
            waiting += [(each, depth + 1) for each in inside if isinstance(each, dict | list | int)]
        elif isinstance(value, int) and abs(value) > _HUGE:
            raise UserError(
                f"{file}: there is a number of {len(str(abs(value)))} digits", "No option takes such a number."
            )


def _too_deep(file: str) -> UserError:
    return UserError(f"{file}: it is nested more than {DEEPEST} deep", "Correct it in the raw editor.")


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
    elif text.lstrip()[:1] == "{":
        hint = "This looks like JSON. kohya-tui config import reads what kohya_ss saves."
    elif _YAML.match(line):
        hint += " — this looks like YAML; TOML is written key = value."
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
