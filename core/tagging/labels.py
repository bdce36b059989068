"""What a tagger's outputs are called: the label files of the known formats."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.problems import UserError

if TYPE_CHECKING:
    from core.tagging.descriptors import TaggerModel


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
_MOST = 1_000_000
"""Outputs; the largest taggers have about 110,000."""
_PLACEHOLDERS = frozenset({"<PAD>", "<UNK>"})
"""Outputs that are no tags (OppaiOracle)."""
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that would break a caption file: controls, line ends of any kind, halves of a character."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """One name and category per model output, in the model's order. An output without a name is never written."""

    names: tuple[str, ...]
    categories: tuple[Category, ...]
    thresholds: tuple[float | None, ...] | None = None
    """The author's own threshold of every tag, where the label file has such a column."""

    def __len__(self) -> int:
        return len(self.names)


def labels_of(model: TaggerModel, outputs: int | None = None) -> LabelSet:
    """The labels of a model that is on disk. Raises UserError as `read_labels`, with what helps."""
    assert model.labels is not None
    try:
        return read_labels(model.labels, outputs, model.categories)
    except UserError as error:
        raise UserError(error.message, " ".join(filter(None, (error.hint, model.again)))) from error


def read_labels(path: Path, outputs: int | None = None, categories: Mapping[str, str] | None = None) -> LabelSet:
    """The labels in `path`: `selected_tags.csv` (WD and relatives), `tag_mapping.json` and `model_vocabulary.json`
    (cl_tagger), Camie's metadata, a JSON list, or a text file with a tag a line (JoyTag).

    `categories` is the descriptor's (TaggerModel.categories); without it a `categories.json` beside the file counts.
    Raises UserError when the file cannot be read, is of another format, or does not name `outputs` outputs.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read the label file {path}: {error}") from error
    meanings = {**_beside(path), **(categories or {})}
    if path.suffix == ".json":
        labels = _from_json(text, path, outputs, meanings)
    elif path.suffix == ".txt":
        names = [line.strip() for line in text.split("\n")]
        labels = _labels(((name, "general") for name in names if name), meanings)
    else:
        labels = _from_csv(text, path, meanings)
    if outputs is not None and len(labels) != outputs:
        raise UserError(
            f"{path} names {len(labels)} tags, but the model has {outputs} outputs",
            "Model and label file do not belong together.",
        )
    return labels


def _labels(
    rows: Iterable[tuple[str, str]], meanings: Mapping[str, str], thresholds: tuple[float | None, ...] | None = None
) -> LabelSet:
    listed = list(rows)
    names = tuple(
        "" if name in _PLACEHOLDERS else (name if name.isprintable() else _UNFIT.sub(" ", name)).strip()
        for name, _ in listed
    )
    kinds: dict[str, Category] = {}
    for _, word in listed:
        if word not in kinds:
            kinds[word] = _category(meanings.get(word.strip().lower(), word))
    found = tuple(
        Category.RATING if kinds[word] is Category.GENERAL and name.startswith("rating:") else kinds[word]
        for name, word in listed
    )
    return LabelSet(names, found, thresholds)


def _from_csv(text: str, path: Path, meanings: Mapping[str, str]) -> LabelSet:
    """Columns in any order; `name` and `category` count, and `best_threshold` where it is there."""
    reader = csv.reader(io.StringIO(text, newline=""))
    rows: list[tuple[str, str]] = []
    thresholds: list[float | None] = []
    columns: dict[str, int] = {}
    begun = 1
    try:
        for row in reader:
            number, begun = begun, reader.line_num + 1
            if not columns:
                columns = {column.strip().lower(): index for index, column in enumerate(row)}
                if "name" not in columns or "category" not in columns:
                    raise UserError(f"{path} is not a label file: it has no columns `name` and `category`")
                continue
            if not row:
                continue
            if len(row) <= max(columns["name"], columns["category"]):
                raise UserError(f"{path}, line {number}: a column is missing")
            name, category = row[columns["name"]], row[columns["category"]]
            if "\n" in name or "\n" in category:
                raise UserError(f"{path}, line {number}: a quotation mark is opened and not closed")
            rows.append((name, category))
            thresholds.append(_number(row, columns.get("best_threshold")))
    except csv.Error as error:
        raise UserError(f"{path}, line {begun}: {error}") from error
    if not columns:
        raise UserError(f"{path} is not a label file: it is empty")
    own = tuple(thresholds) if any(value is not None for value in thresholds) else None
    return _labels(rows, meanings, own)


def _number(row: list[str], at: int | None) -> float | None:
    try:
        value = float(row[at]) if at is not None else None
    except (ValueError, IndexError):
        return None
    return value if value is not None and 0 <= value <= 1 else None


def _from_json(text: str, path: Path, outputs: int | None, meanings: Mapping[str, str]) -> LabelSet:
    """`{"0": {"tag": …, "category": "General"}, …}`, `{"idx_to_tag": …, "tag_to_category": …}` at the top or in
    `dataset_info.tag_mapping`, or a list of names. An output that is left out has an empty name.
    """
    try:
        entries = _entries(json.loads(text), meanings)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is not a tag mapping: {_reason(error)}") from error
    count = max(entries, default=-1) + 1
    if min(entries, default=0) < 0 or count > _MOST:
        raise UserError(f"{path} is not a tag mapping: it numbers its tags {min(entries)} to {count - 1}")
    if outputs is not None and count < outputs:
        count = outputs
    return _labels((entries.get(index, ("", "other")) for index in range(count)), meanings)


def _entries(data: Any, meanings: Mapping[str, str]) -> dict[int, tuple[str, str]]:
    if isinstance(data, list):
        return {index: (str(name), "general") for index, name in enumerate(data)}
    inner = data.get("dataset_info", {}).get("tag_mapping") or data
    if "idx_to_tag" not in inner:
        return {int(key): (str(value["tag"]), str(value["category"])) for key, value in data.items()}
    names, kinds = inner["idx_to_tag"], inner.get("tag_to_category") or {}
    numbered = enumerate(names) if isinstance(names, list) else ((int(key), name) for key, name in names.items())
    return {index: (str(name or ""), str(kinds.get(name, "general"))) for index, name in numbered}


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def _beside(path: Path) -> dict[str, str]:
    """`categories.json` of imgutils' repositories: `[{"category": 0, "name": "general"}, …]`."""
    try:
        listed = json.loads((path.parent / "categories.json").read_text("utf-8-sig"))
        return {str(entry["category"]): str(entry["name"]) for entry in listed}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _category(text: str) -> Category:
    text = text.strip().lower()
    if text.isdecimal():
        try:
            return Category(int(text))
        except ValueError:
            return Category.OTHER
    return _WORDS.get(text, Category.OTHER)
