"""Places in dataset.toml: `datasets[0].subsets[1].num_repeats`, `general.keep_tokens`, and where a bare key belongs.

A bare key stands where the trainer finds it for the first subset: in it, in its dataset, or in [general].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.config.containers import assign, container_of, item_at, neighbours, nth_table
from core.config.schema import LEVELS, Field, dataset_fields
from core.problems import UserError

if TYPE_CHECKING:
    from tomlkit.container import Container
    from tomlkit.toml_document import TOMLDocument

_NAMED = re.compile(r"(?:(general)|datasets\[(\d+)\](?:\.subsets\[(\d+)\])?)\.([^.\[\]]+)$")
_SUBSET_KEYS = frozenset({"image_dir", "num_repeats", "is_reg", "class_tokens", "alpha_mask", "metadata_file"})
_DATASET_KEYS = frozenset(
    {"resolution", "batch_size", "enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"}
    | {"bucket_no_upscale", "validation_split", "validation_seed", "network_multiplier", "resize_interpolation"}
)


@dataclass(frozen=True, slots=True)
class Place:
    """One key at one of `schema.LEVELS`; the numbers count from 0 and mean nothing above their level."""

    level: str
    key: str
    dataset: int = 0
    subset: int = 0

    def table(self, data: Mapping[str, Any]) -> Any:
        """The table that the place is in, of plain values or of a document; None when it is not there."""
        if self.level == "general":
            found = data.get("general")
        else:
            found = item_at(data.get("datasets"), self.dataset)
            if self.level == "subsets" and isinstance(found, dict):
                found = item_at(found.get("subsets"), self.subset)
        return found if isinstance(found, dict) else None


def named(key: str) -> Place | None:
    """The place that `key` names; None for a bare key."""
    found = _NAMED.match(key)
    if found is None:
        return None
    if found[1]:
        return Place("general", found[4])
    if found[3] is None:
        return Place("datasets", found[4], int(found[2]))
    return Place("subsets", found[4], int(found[2]), int(found[3]))


def chain(key: str) -> Iterator[Place]:
    """Where a key may stand, nearest first."""
    place = named(key)
    if place is not None:
        yield place
    else:
        yield from (Place(level, key) for level in reversed(LEVELS))


def value_of(data: Mapping[str, Any], key: str) -> Any:
    """The value that the trainer takes; None when there is none."""
    for place in chain(key):
        table = place.table(data)
        if table is not None and table.get(place.key) is not None:
            return table[place.key]
    return None


def field_of(key: str) -> Field | None:
    """The facts of a key, from the lowest level that takes it; None for one that the trainer does not know there."""
    return next((found for place in chain(key) if (found := dataset_fields(place.level).get(place.key))), None)


def put(document: TOMLDocument, key: str, value: Any) -> None:
    """Set a key where it stands, or where it belongs: [general], [[datasets]] or a subset is made when missing.

    Raises UserError when something else stands there.
    """
    held = _holder(document, key)
    name, container = held if held is not None else _home(document, named(key) or _usual(key))
    assign(container, name, value, neighbours(container, dataset_fields("subsets"), name))


def remove(document: TOMLDocument, key: str) -> None:
    """Remove a key from where the trainer would find it; nothing happens when it is not there."""
    held = _holder(document, key)
    if held is not None:
        held[1].remove(held[0])


def _holder(document: TOMLDocument, key: str) -> tuple[str, Container] | None:
    """Name and container of a key that is there."""
    for place in chain(key):
        table = place.table(document)
        if table is not None and place.key in (container := container_of(table)):
            return place.key, container
    return None


def _usual(key: str) -> Place:
    return Place("subsets" if key in _SUBSET_KEYS else "datasets" if key in _DATASET_KEYS else "general", key)


def _home(document: TOMLDocument, place: Place) -> tuple[str, Container]:
    """Name and container for a key that is new at `place`."""
    if place.level == "general":
        return place.key, _general(document)
    dataset = nth_table(document, "datasets", place.dataset)
    return place.key, dataset if place.level == "datasets" else nth_table(dataset, "subsets", place.subset)


def _general(document: TOMLDocument) -> Container:
    import tomlkit

    if "general" not in document:
        table = tomlkit.table()
        if list(document.keys()):
            table.add(tomlkit.nl())
        document._insert_at(0, tomlkit.key("general"), table)
    if not isinstance(document["general"], dict):
        raise UserError("general is not a table", "Write [general], in the raw editor.")
    found: Container = container_of(document["general"])
    return found
