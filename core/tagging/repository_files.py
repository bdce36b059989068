"""What a tagger's repository says about itself beside model and labels: `preprocess.json`, `thresholds.csv` and
`threshold.json`, as imgutils and animetimm write them.

timm's `config.json` is left alone: SmilingWolf's describes the torch weights, not the ONNX file beside them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.problems import UserError
from core.tagging.descriptor_files import FILTERS, from_mean, named_input
from core.tagging.descriptors import WHITE, InputFormat, TaggerModel

PREPROCESS = "preprocess.json"
THRESHOLDS = "thresholds.csv"
_WORDS = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta", "9": "rating"}
_NO_OP = frozenset({"to_tensor", "maybe_to_tensor", "convert_rgb"})
_COLOURS: Mapping[str, tuple[int, int, int]] = {"white": WHITE, "black": (0, 0, 0), "gray": (128, 128, 128)}


def with_own_facts(model: TaggerModel) -> TaggerModel:
    """`model`, which is on disk, with what the files beside it say; what they do not say stays.

    Raises UserError when `preprocess.json` asks for something that cannot be done here.
    """
    preprocess, thresholds = model.beside(_in_subfolder(model, PREPROCESS)), _thresholds(model)
    if preprocess.is_file():
        # WD's own repositories have no such file: it is a model that nobody described.
        base = named_input("timm") if model.format == named_input("wd") else model.format
        model = replace(model, format=read_preprocess(preprocess, base))
    return replace(model, thresholds={**model.thresholds, **thresholds})


def _in_subfolder(model: TaggerModel, name: str) -> str:
    return str(Path(model.files[0]).parent / name)


def read_preprocess(path: Path, form: InputFormat) -> InputFormat:
    """The steps of a `preprocess.json` (imgutils' `stages`, or `test` of timm's) over `form`."""
    try:
        data = json.loads(path.read_text("utf-8-sig"))
        stages = data if isinstance(data, list) else data.get("stages") or data["test"]
        form = replace(form, layout="NCHW", channels="RGB", fit="squash", align=None, scale=(255.0,), shift=(0.0,))
        return _staged(stages, form)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RecursionError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} asks for a preparation of the pictures that is not known here: {reason}",
            "Describe the model in a tagger.toml (kohya-tui help models), or name another one.",
        ) from error


def _staged(stages: list[dict[str, Any]], form: InputFormat) -> InputFormat:
    is_square, crops = False, None
    for stage in stages:
        kind = stage["type"]
        if kind in _NO_OP:
            continue
        if kind == "pad_to_size":
            side, name = _side(stage["size"]), _filter(stage.get("interpolation", "bilinear"))
            form = replace(form, align=(side, name), pad=_colour(stage.get("background_color", "white")), size=side)
            is_square = True
        elif kind == "resize":
            size = stage["size"]
            fit = "squash" if is_square or (isinstance(size, list) and len(size) == 2) else "crop"
            form = replace(form, fit=fit, size=_side(size), resample=_filter(stage.get("interpolation", "bilinear")))
            is_square, crops = is_square or fit == "squash", _side(size) if fit == "crop" else crops
        elif kind == "center_crop":
            if _side(stage["size"]) != form.size:
                raise ValueError(f"center_crop to {stage['size']} after a resize to {form.size}")
            crops = None
        elif kind == "normalize":
            mean, std = _listed(stage["mean"]), _listed(stage["std"])
            scale, shift = from_mean(mean, std)
            form = replace(form, scale=scale, shift=shift)
        else:
            raise ValueError(f"the step {kind!r}")
    if form.size is None or crops is not None:
        raise ValueError("pictures of any size")
    if form.align is not None and form.align[0] == form.size and form.fit == "squash":
        form = replace(form, resample=form.align[1])
    return form


def _listed(value: Any) -> tuple[float, ...]:
    return tuple(float(item) for item in value) if isinstance(value, list) else (float(value),)


def _side(size: Any) -> int:
    sides = size if isinstance(size, list) else [size]
    if len(set(sides)) != 1 or type(sides[0]) is not int or not 16 <= sides[0] <= 4096:
        raise ValueError(f"the size {size!r}")
    return sides[0]


def _filter(name: Any) -> str:
    if name not in FILTERS[1:]:
        raise ValueError(f"the filter {name!r}")
    return str(name)


def _colour(value: Any) -> tuple[int, int, int]:
    if isinstance(value, str) and value in _COLOURS:
        return _COLOURS[value]
    if isinstance(value, list) and len(value) == 3 and all(type(item) is int for item in value):
        return value[0], value[1], value[2]
    raise ValueError(f"the colour {value!r}")


def _thresholds(model: TaggerModel) -> dict[str, float]:
    """By category: `thresholds.csv` (category, name, threshold), else `threshold.json` (its balanced ones)."""
    found: dict[str, float] = {}
    try:
        with model.beside(_in_subfolder(model, THRESHOLDS)).open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                word = model.categories.get(row["category"]) or row.get("name") or _WORDS.get(row["category"], "")
                if 0 <= float(row["threshold"]) <= 1:
                    found.setdefault(word.lower(), float(row["threshold"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error):
        found = {}  # a recommendation, not a need
    if found:
        return found
    try:
        data = json.loads(model.beside(_in_subfolder(model, "threshold.json")).read_text("utf-8-sig"))
        balanced = {str(word).lower(): float(modes["balanced"]["threshold"]) for word, modes in data.items()}
        return {word: value for word, value in balanced.items() if 0 <= value <= 1}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
