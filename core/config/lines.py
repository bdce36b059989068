"""Where a key stands in the text of a config file, and which key stands in a line: for the raw editor and the form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.config import places
from core.config.blocks import bare_lines, blocks_of
from core.config.prompts import lines_of

if TYPE_CHECKING:
    from core.config.documents import FileName

_KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")


def line_of(text: str, file: FileName, key: str) -> int | None:
    """The number of the line in which `key` is set, from 0; of a bare key of dataset.toml the first subset's."""
    lines = lines_of(text)
    name = key.rpartition(".")[2] if file == "dataset" else key
    found = [number for number, line in bare_lines(lines) if (match := _KEY.match(line)) and match[1] == name]
    if file != "dataset":
        return found[-1] if found else None  # the last of equal keys wins
    place = places.named(key)
    datasets = blocks_of(lines)
    at = place.dataset if place is not None else 0
    if place is not None and place.level == "general":
        heads = (number for number, line in bare_lines(lines) if re.match(r"\s*\[\s*general\s*\]", line))
        return found[0] if found else next(heads, None)
    if at >= len(datasets):
        return found[0] if found else None
    block = datasets[at]
    subset = place.subset if place is not None else 0
    if (place is None or place.level == "subsets") and subset < len(block.subsets):
        inner = block.subsets[subset]
        inside = [number for number in found if inner.first <= number < inner.end]
        if inside or place is not None:
            return inside[0] if inside else inner.first
    own = [
        number
        for number in found
        if block.first <= number < block.end and not any(each.first <= number < each.end for each in block.subsets)
    ]
    if own or place is not None:
        return own[0] if own else block.first
    return found[0] if found else None


def key_in(text: str, file: FileName, line: int) -> str | None:
    """The key that is set in `line` (from 0) or in the nearest line above it; None when there is none."""
    lines = lines_of(text)
    found = [(number, match[1]) for number, each in bare_lines(lines) if (match := _KEY.match(each)) and number <= line]
    if not found:
        return None
    number, key = found[-1]
    if file != "dataset":
        return key
    for at, block in enumerate(blocks_of(lines)):
        for index, inner in enumerate(block.subsets):
            if inner.first <= number < inner.end:
                return f"datasets[{at}].subsets[{index}].{key}"
        if block.first <= number < block.end:
            return f"datasets[{at}].{key}"
    return f"general.{key}"
