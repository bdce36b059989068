"""Descriptors of tagger models in TOML: our own `taggers.toml`, which explains the form, and those that a user adds.

Unknown keys are refused: a misspelt `scale` would give tags that are wrong without a word.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from core.problems import UserError
from core.tagging.descriptors import InputFormat, TaggerModel

OURS = Path(__file__).resolve().parent / "taggers.toml"
FILE = "taggers.toml"
"""A user's own models: beside the settings file, or in the workspace."""
LOCAL_FILE = "tagger.toml"
"""One model in its own folder."""
FORMAT = 1
_T = TypeVar("_T")
_REMEDY = "What may stand there: kohya-tui help models"
_LAYOUTS = ("NHWC", "NCHW")
_FITS = ("pad", "squash", "pad-after", "letterbox", "crop")
FILTERS = ("area", "bicubic", "bilinear", "lanczos")
_WORDS = ("general", "artist", "copyright", "character", "meta", "rating", "quality", "model", "other")


class _Wrong(Exception):
    """`key` is the one whose value is refused, `message` says why."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.message = message


@cache
def known() -> tuple[TaggerModel, ...]:
    """The models that come with the program; names with a `*` describe every repository that they match."""
    return read_descriptors(OURS)


@cache
def _our_inputs() -> Mapping[str, InputFormat]:
    return _inputs(tomllib.loads(OURS.read_text("utf-8")), {})


def named_input(name: str) -> InputFormat:
    """One of the input formats in our taggers.toml."""
    return _our_inputs()[name]


def read_descriptors(path: Path) -> tuple[TaggerModel, ...]:
    """The models described in a `taggers.toml`. Raises UserError with file, line and reason."""
    text, data = _parsed(path)
    section = 0
    try:
        if data.pop("version", FORMAT) != FORMAT:
            raise _Wrong("version", f"is of a newer kohya-tui than this one, which knows version {FORMAT}")
        inputs = _inputs(data, {} if path == OURS else _our_inputs())
        data.pop("input", None)
        tables = data.pop("tagger", [])
        if data or not isinstance(tables, list):
            raise _Wrong(next(iter(data), "tagger"), "has no meaning here; each model is a [[tagger]]")
        models = []
        for section, table in enumerate(tables, 1):  # noqa: B007  # named in the error
            if not isinstance(table, dict) or "name" not in table:
                raise _Wrong("name", "is missing: the repository that is described")
            models.append(_model(table, inputs))
        return tuple(models)
    except _Wrong as error:
        raise _refused(path, text, error, section) from None


def read_local(folder: Path, name: str) -> TaggerModel | None:
    """The model that a `tagger.toml` in `folder` describes; None when there is no such file."""
    path = folder / LOCAL_FILE
    if not path.is_file():
        return None
    text, data = _parsed(path)
    try:
        return _model(data | {"name": name}, _our_inputs(), is_local=True)
    except _Wrong as error:
        raise _refused(path, text, error, 0) from None


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text("utf-8-sig")
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error))
        reason = found[1] if found else str(error)
        line = int(found[2]) if found and found[2] else text.count("\n") + 1
        raise UserError(f"{path}, line {line}: {reason}", "Correct the line. " + _REMEDY) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {error}", "Correct or remove the file.") from error


def _refused(path: Path, text: str, error: _Wrong, section: int) -> UserError:
    """With the line where the key stands in the section-th [[tagger]] (0: anywhere)."""
    lines = text.split("\n")
    heads = [number for number, line in enumerate(lines) if line.strip().startswith("[[tagger]]")]
    begin = heads[section - 1] if 0 < section <= len(heads) else 0
    end = heads[section] if 0 < section < len(heads) else len(lines)
    key = re.compile(rf"(^|[\s{{,.\[\"']){re.escape(error.key)}[\"']?\s*(=|\])")
    at = next((number for number in range(begin, end) if key.search(lines[number].split("#")[0])), begin)
    return UserError(f"{path}, line {at + 1}: `{error.key}` {error.message}", _REMEDY)


def _inputs(data: Mapping[str, Any], more: Mapping[str, InputFormat]) -> dict[str, InputFormat]:
    inputs = dict(more)
    for name, table in data.get("input", {}).items():
        inputs[name] = _input(table, inputs)
    return inputs


def _model(table: Mapping[str, Any], inputs: Mapping[str, InputFormat], *, is_local: bool = False) -> TaggerModel:
    rest = dict(table)
    name = _text(rest, "name", "")
    if not is_local and (name.count("/") not in (1, 2) or not all(name.split("/")) or ".." in name.split("/")):
        raise _Wrong("name", "is not of the form owner/repository or owner/repository/folder")
    below = "/".join(name.split("/")[2:]) if not is_local else ""
    default = TaggerModel(name)
    files = tuple(
        _file("/".join(filter(None, (below, file))) if key not in rest else _text(rest, key, ""), key)
        for key, file in zip(("model", "labels"), default.files, strict=True)
    )
    if is_local:
        files = tuple("" if key not in table else file for key, file in zip(("model", "labels"), files, strict=True))
    model = replace(
        default,
        files=files,
        sidecars=tuple(_file(item, "sidecars") for item in _texts(rest, "sidecars")),
        extras=tuple(_file(item, "extras") for item in _texts(rest, "extras")),
        format=_input(rest.pop("input", {}), inputs),
        threshold=_share(rest.pop("threshold", None), "threshold"),
        thresholds={
            _word(key, "thresholds"): _share(value, "thresholds") or 0.0
            for key, value in _table(rest, "thresholds").items()
        },
        categories={str(key).lower(): _word(value, "categories") for key, value in _table(rest, "categories").items()},
        bytes=_typed(rest.pop("bytes", None), "bytes", int, "a number of bytes"),
        is_gated=_typed(rest.pop("gated", False), "gated", bool, "true or false") or False,
        revision=_revision(_text(rest, "revision", "")),
        licence=_text(rest, "licence", default.licence),
        note=_text(rest, "note", ""),
    )
    _nothing_left(rest)
    return model


def _input(value: Any, inputs: Mapping[str, InputFormat]) -> InputFormat:
    """A name, or a table that may say with `like` which one it differs from."""
    if isinstance(value, str):
        if value not in inputs:
            raise _Wrong("input", f"names no input format: {value!r} (there are {', '.join(inputs)})")
        return inputs[value]
    if not isinstance(value, dict):
        raise _Wrong("input", "is neither a name nor a table")
    rest = dict(value)
    base = rest.pop("like", None)
    form = InputFormat() if base is None else _input(base, inputs)
    steps: tuple[tuple[str, Callable[[Any, str], Any]], ...] = (
        ("layout", _one_of(_LAYOUTS)),
        ("channels", _one_of(("BGR", "RGB"))),
        ("scale", _scale),
        ("shift", _numbers),
        ("fit", _one_of(_FITS)),
        ("align", _align),
        ("pad", _colour),
        ("resample", _one_of(FILTERS)),
        ("size", _size),
        ("output", lambda item, key: _typed(item, key, str, "a name")),
        ("mask", lambda item, key: _typed(item, key, str, "a name")),
    )
    changes = {key: read(rest.pop(key), key) for key, read in steps if key in rest}
    if "mean" in rest or "std" in rest:
        if "scale" in changes or "shift" in changes:
            raise _Wrong("mean", "and std exclude scale and shift")
        mean, std = _numbers(rest.pop("mean", 0.0), "mean"), _scale(rest.pop("std", 1.0), "std")
        changes["scale"], changes["shift"] = from_mean(mean, std)
    if "activation" in rest:
        changes["is_logits"] = _one_of(("none", "sigmoid"))(rest.pop("activation"), "activation") == "sigmoid"
    if "order" in rest:
        changes["by_probability"] = _one_of(("labels", "score"))(rest.pop("order"), "order") == "score"
    _nothing_left(rest)
    form = replace(form, **changes)
    if form.mask is not None and form.fit != "letterbox":
        raise _Wrong("mask", 'is for fit = "letterbox" only')
    if form.resample == "area" and form.fit != "pad":
        raise _Wrong("resample", f'= "area" is for fit = "pad" only; for "{form.fit}" name Pillow\'s filter')
    return form


def from_mean(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`scale` and `shift` for torchvision's mean and standard deviation of pixels 0..1."""
    count = max(len(mean), len(std))
    mean, std = mean * (count // len(mean)), std * (count // len(std))
    return tuple(255 * item for item in std), tuple(-a / b for a, b in zip(mean, std, strict=True))


def _nothing_left(rest: Mapping[str, Any]) -> None:
    for key in rest:
        raise _Wrong(key, "has no meaning here")


def _typed(value: Any, key: str, kind: type[_T], what: str) -> _T | None:
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise _Wrong(key, f"is not {what}")
    return value


def _text(rest: dict[str, Any], key: str, default: str) -> str:
    return _typed(rest.pop(key, default), key, str, "text") or ""


def _texts(rest: dict[str, Any], key: str) -> list[str]:
    items = _typed(rest.pop(key, []), key, list, "a list of file names") or []
    return [_typed(item, key, str, "a list of file names") or "" for item in items]


def _table(rest: dict[str, Any], key: str) -> dict[str, Any]:
    return _typed(rest.pop(key, {}), key, dict, "a table") or {}


def _file(name: str, key: str) -> str:
    """A file inside the repository or folder, never outside it."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise _Wrong(key, f"names no file inside the model's folder: {name!r}")
    return str(path)


def is_revision(text: str) -> bool:
    """Whether `text` can be a commit, tag or branch; it becomes part of file names in the hub's cache."""
    return re.fullmatch(r"\w[\w.+/-]*", text, re.ASCII) is not None and ".." not in text


def _revision(text: str) -> str | None:
    if text and not is_revision(text):
        raise _Wrong("revision", f"is no commit, tag or branch: {text!r}")
    return text or None


def _word(value: Any, key: str) -> str:
    if not isinstance(value, str) or value.lower() not in _WORDS:
        raise _Wrong(key, f"knows the categories {', '.join(_WORDS)}, not {value!r}")
    return value.lower()


def _share(value: Any, key: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _Wrong(key, f"is not between 0 and 1: {value!r}")
    return float(value)


def _numbers(value: Any, key: str) -> tuple[float, ...]:
    items = value if isinstance(value, list) else [value]
    if len(items) not in (1, 3) or any(isinstance(item, bool) or not isinstance(item, int | float) for item in items):
        raise _Wrong(key, "is neither a number nor a list of three")
    return tuple(float(item) for item in items)


def _scale(value: Any, key: str) -> tuple[float, ...]:
    numbers = _numbers(value, key)
    if not all(0 < abs(number) < float("inf") for number in numbers):
        raise _Wrong(key, "divides, and may not be 0")
    return numbers


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any, str], str]:
    def read(value: Any, key: str) -> str:
        if value not in allowed:
            raise _Wrong(key, f"is one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    return read


def _size(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 16 <= value <= 4096:
        raise _Wrong(key, f"is not a number of pixels from 16 to 4096: {value!r}")
    return value


def _align(value: Any, key: str) -> tuple[int, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise _Wrong(key, 'is not of the form [512, "bilinear"]')
    return _size(value[0], key), _one_of(FILTERS[1:])(value[1], key)


def _colour(value: Any, key: str) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3 or any(type(v) is not int or not 0 <= v <= 255 for v in value):
        raise _Wrong(key, "is not [red, green, blue], each 0 to 255")
    return value[0], value[1], value[2]
