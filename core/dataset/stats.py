"""Numbers about the captions of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from core.dataset.captions import split, tag_key


@dataclass(frozen=True, slots=True)
class CaptionSummary:
    """What a dataset's captions are like at a glance. Empty captions count as captions."""

    captions: int
    empty: int
    tags: int
    distinct: int
    fewest: int
    most: int

    @property
    def mean(self) -> float:
        """Tags per caption that has any."""
        filled = self.captions - self.empty
        return self.tags / filled if filled else 0.0


def tag_counts(captions: Iterable[str]) -> Counter[str]:
    """In how many captions each tag stands; one that stands twice in a caption counts once.

    Spellings that are the same tag are counted together, under the one that is used most.
    """
    spellings: dict[str, Counter[str]] = {}
    counts: Counter[str] = Counter()
    for caption in captions:
        seen: set[str] = set()
        for tag in split(caption):
            key = tag_key(tag)
            if key not in seen:
                seen.add(key)
                counts[key] += 1
                spellings.setdefault(key, Counter())[tag] += 1
    return Counter({max(spellings[key].items(), key=lambda pair: pair[1])[0]: count for key, count in counts.items()})


def summary(captions: Iterable[str]) -> CaptionSummary:
    """Counts over all captions, read once."""
    total = empty = tags = most = 0
    fewest: int | None = None
    keys: set[str] = set()
    for caption in captions:
        found = split(caption)
        total += 1
        if not found:
            empty += 1
            continue
        tags += len(found)
        most = max(most, len(found))
        fewest = len(found) if fewest is None else min(fewest, len(found))
        keys.update(map(tag_key, found))
    return CaptionSummary(total, empty, tags, len(keys), fewest or 0, most)
