"""What a tagger's outputs are called: the label files of the known formats, read row by row."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from core.problems import UserError


class Category(IntEnum):
    """Kind of a tag. The numbers up to 9 are Danbooru's, as `selected_tags.csv` writes them; the others are ours."""

    GENERAL = 0
    ARTIST = 1
    COPYRIGHT = 3
    CHARACTER = 4
    META = 5
    RATING = 9
    QUALITY = 10
    MODEL = 11
    OTHER = 12

    @property
    def word(self) -> str:
        """The name in lower case, as the scores, `--json` and the screens show it."""
        return self.name.lower()


_WORDS: Mapping[str, Category] = {category.word: category for category in Category}


@dataclass(frozen=True, slots=True)
class LabelSet:
    """One name and category per model output, in the model's order."""

    names: tuple[str, ...]
    categories: tuple[Category, ...]

    def __len__(self) -> int:
        return len(self.names)


def read_labels(path: Path, outputs: int | None = None) -> LabelSet:
    """The labels in `path`: `selected_tags.csv` (WD and relatives) or `tag_mapping.json` (cl_tagger).

    Raises UserError when the file cannot be read, is of another format, or does not name `outputs` outputs.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the label file {path}: {error}", _REMEDY) from error
    labels = _from_mapping(text, path, outputs) if path.suffix == ".json" else _from_csv(text, path)
    if outputs is not None and len(labels) != outputs:
        raise UserError(
            f"{path} names {len(labels)} tags, but the model has {outputs} outputs",
            "Model and label file do not belong together. " + _REMEDY,
        )
    return labels


_REMEDY = "Download the model again: add --force_download."


def _from_csv(text: str, path: Path) -> LabelSet:
    rows = list(csv.reader(text.splitlines()))
    header = [column.strip() for column in rows[0]] if rows else []
    if "name" not in header or "category" not in header:
        raise UserError(f"{path} is not a label file: it has no columns `name` and `category`", _REMEDY)
    name_at, category_at = header.index("name"), header.index("category")
    names: list[str] = []
    categories: list[Category] = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        try:
            names.append(row[name_at])
            categories.append(_category(row[category_at]))
        except IndexError:
            raise UserError(f"{path}, line {number}: a column is missing", _REMEDY) from None
    return LabelSet(tuple(names), tuple(categories))


def _from_mapping(text: str, path: Path, outputs: int | None) -> LabelSet:
    """`{"0": {"tag": …, "category": "General"}, …}`; an output that the mapping leaves out has an empty name."""
    try:
        entries = {int(key): (str(value["tag"]), str(value["category"])) for key, value in json.loads(text).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a tag mapping: {error}", _REMEDY) from error
    count = max(entries, default=-1) + 1
    if outputs is not None and count < outputs:
        count = outputs
    rows = [entries.get(index, ("", "other")) for index in range(count)]
    return LabelSet(tuple(name for name, _ in rows), tuple(_category(word) for _, word in rows))


def _category(text: str) -> Category:
    text = text.strip().lower()
    if text.isdecimal():
        try:
            return Category(int(text))
        except ValueError:
            return Category.OTHER
    return _WORDS.get(text, Category.OTHER)
