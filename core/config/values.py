"""Values and their kinds: from typed text, into what the trainer expects, and how they are written."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from core.config.schema import Field
from core.problems import UserError

if TYPE_CHECKING:
    from tomlkit.items import Item

_INT = re.compile(r"[+-]?\d[\d_]*$")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
NOUNS = {
    "int": "a whole number",
    "float": "a number",
    "number": "a number",
    "bool": "true or false",
    "str": "text",
    "path": "a path",
    "list": "a list",
    "resolution": "a number, or two numbers such as 768,512",
    "pair": "two numbers such as 2.0,4.0",
    "dict": "a table",
}


def expected(field: Field) -> str:
    """What the field takes, in words."""
    if field.type == "choice":
        return "one of " + ", ".join(str(item) for item in field.choices)
    if field.type == "list" and field.item == "str" and field.name.endswith("_args"):
        return 'a list of texts such as ["key=value"]'
    return NOUNS[field.type]


def from_text(text: str, field: Field | None) -> Any:
    """The value that `text` (typed in a form or behind KEY=) means; empty text is None: unset.

    Without a field (an unknown key) text that is a TOML value is taken as that, the rest as text. Raises UserError.
    """
    text = text.strip()
    if field is None:
        return _guess(text)
    if not text:
        return None
    if field.type in {"str", "path"}:
        return _unquoted(text)
    if field.type == "list":
        return [_number(part, field) if field.item == "float" else part for part in _parts(text)]
    if field.type in {"resolution", "pair"}:
        numbers = [_number(part, field) for part in re.split(r"[\s,x×]+", text.strip("[] ")) if part]
        if field.type == "resolution" and len(numbers) == 1:
            return coerce(numbers[0], field)
        return coerce(numbers, field)
    if field.type == "dict":
        value = _guess(text)
        return coerce(value, field)
    if field.type == "bool":
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise _wrong(text, field)
    if field.type == "choice":
        plain = _unquoted(text)
        for item in field.choices:
            if str(item) == plain:
                return item
        raise _wrong(text, field)
    return coerce(_number(text, field), field)


def coerce(value: Any, field: Field | None) -> Any:
    """`value` in the kind that the trainer wants where that loses nothing (1 → 1.0, 2.0 → 2); raises UserError else."""
    if value is None or field is None:
        return value
    kind = field.type
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "int" and is_number and float(value).is_integer():
        return int(value)
    if kind == "float" and is_number and math.isfinite(value):
        return float(value)
    if kind == "number" and is_number:
        # sd-scripts takes a float as a share and an int as a count (train_util.py, get_scheduler_fix)
        return int(value) if float(value).is_integer() and (value >= 1 or value == 0) else float(value)
    if kind in {"str", "path"} and isinstance(value, str):
        return value
    if kind == "choice" and any(value == item and isinstance(value, bool) is False for item in field.choices):
        return value
    if kind == "list":
        return _list(value, field)
    if kind == "resolution":
        if is_number and float(value).is_integer():
            return int(value)
        if isinstance(value, list | tuple) and len(value) == 2 and all(_whole(item) for item in value):
            return [int(item) for item in value]
    if (
        kind == "pair"
        and isinstance(value, list | tuple)
        and [type(item) in (int, float) for item in value] == [True] * 2
    ):
        return [float(item) for item in value]
    if kind == "dict" and isinstance(value, dict):
        return value
    raise _wrong(value, field)


def complaint(value: Any, field: Field, *, strict: bool = False) -> str | None:
    """What is wrong with a value as it stands in the file; None when the trainer takes it.

    `strict` is the dataset file, where 1 for a float and 2.0 for an int are refused (config_util.py, voluptuous).
    """
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be {expected(field)}, not {value}"
    if field.type in {"float", "number", "int"} and not strict:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be {expected(field)}, not {shown(value)}"
        if field.type == "int" and isinstance(value, float):
            return f"must be a whole number, not {shown(value)}"
        return None
    if strict and field.type == "pair" and isinstance(value, list) and any(type(item) is int for item in value):
        return f"must be two numbers with a point: {[float(item) for item in value if isinstance(item, int | float)]}"
    if strict and field.type in {"int", "float"}:
        wanted = int if field.type == "int" else float
        if isinstance(value, bool) or not isinstance(value, wanted):
            example = f"{float(value)}" if field.type == "float" and isinstance(value, int) else None
            return f"must be {expected(field)}{f' with a point: {example}' if example else f', not {shown(value)}'}"
        return None
    if field.type == "list":
        if not isinstance(value, list):
            if field.item == "float" and isinstance(value, int | float):
                return None
            return f"must be {expected(field)}, not {shown(value)}"
        wrong = [item for item in value if isinstance(item, str) != (field.item == "str")]
        return f"must be {expected(field)}; {shown(wrong[0])} is not" if wrong else None
    if field.type == "choice":
        return None if value in field.choices else f"must be {expected(field)}, not {shown(value)}"
    try:
        right = coerce(value, field)
    except UserError as error:
        return error.message.removeprefix(f"{field.name} ")
    return None if type(right) is type(value) else f"must be {expected(field)}, not {shown(value)}"


def toml_item(value: Any) -> Item:
    """`value` as a tomlkit item that reads well and that toml 0.10.2 reads: homogeneous lists, `1e-4`, `'C:\\x'`."""
    import tomlkit

    if isinstance(value, float) and math.isfinite(value):
        return tomlkit.items.Float(value, tomlkit.items.Trivia(), float_text(value))
    if isinstance(value, str) and "\\" in value and "'" not in value and "\n" not in value:
        literal: Item = tomlkit.string(value, literal=True)
        return literal
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        for name, item in value.items():
            table[name] = toml_item(item)
        return table
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        numbers = [item for item in value if isinstance(item, int | float) and not isinstance(item, bool)]
        mixed = len({type(item) for item in numbers}) > 1
        for item in value:
            array.append(toml_item(float(item)) if mixed and item in numbers else toml_item(item))
        if len(value) > 2 and sum(len(str(item)) for item in value) > 80:
            array.multiline(True)
        return array
    plain: Item = tomlkit.item(value)
    return plain


def float_text(value: float) -> str:
    """As people write it: `1e-4`, `0.05`, `1.0`."""
    plain = repr(value)
    mantissa, exponent = f"{value:e}".split("e")
    digits = mantissa.rstrip("0").rstrip(".")
    short = f"{digits}e{int(exponent)}"
    if "e" in plain or (abs(value) < 0.01 and value and len(short) < len(plain)):
        return short if float(short) == value else plain
    return plain


def shown(value: Any) -> str:
    """A value as TOML would show it, cut to a readable length."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(shown(item) for item in value) + "]"
    elif value is None:
        return "unset"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "…" + text[-1]


def _wrong(value: Any, field: Field) -> UserError:
    return UserError(f"{field.name} must be {expected(field)}, not {shown(value)}", field.help or None)


def _whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()


def _number(text: str, field: Field) -> int | float:
    plain = text.strip()
    percent = plain.endswith("%")
    plain = plain.removesuffix("%").strip()
    try:
        if _INT.match(plain) and not percent:
            return int(plain)
        value = float(plain)
    except ValueError:
        raise _wrong(text, field) from None
    if not math.isfinite(value):
        raise _wrong(text, field)
    return value / 100 if percent else value


def _list(value: Any, field: Field) -> list[Any]:
    items = list(value) if isinstance(value, list | tuple) else [value]
    if field.item == "float":
        if any(isinstance(item, bool) or not isinstance(item, int | float) for item in items):
            raise _wrong(value, field)
        return [float(item) for item in items]
    if any(not isinstance(item, str) for item in items):
        raise _wrong(value, field)
    return items


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text


def _parts(text: str) -> list[str]:
    """`["a=1", "b=(2,3)"]`, `a=1 b=(2, 3)` and one item a line: the items, brackets kept together."""
    import tomllib

    if text.startswith("[") and text.endswith("]"):
        try:
            return [item if isinstance(item, str) else str(item) for item in tomllib.loads(f"x = {text}")["x"]]
        except tomllib.TOMLDecodeError:
            text = text[1:-1]
    found: list[str] = []
    depth, piece = 0, ""
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth <= 0 and (char.isspace() or char == ","):
            found.append(piece)
            piece = ""
        else:
            piece += char
    return [_unquoted(item) for item in [*found, piece] if item.strip()]


def _guess(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text
