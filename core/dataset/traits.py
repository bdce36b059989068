"""Trait pruning: which tags always come with a trigger word, and what leaving them in the captions means.

What a caption names is learned as a word of its own; what it does not name goes to the trigger. A trait that is in
nearly every caption keeps the trigger from standing for the character alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from core.dataset.captions import split, tag_key, trigger_tags
from core.dataset.tag_table import TagRow, TagTable
from core.text import count_of

Suggestion = Literal["absorb", "consider", "keep"]
ABSORB, CONSIDER, SHOWN = 0.85, 0.60, 0.35
"""Shares of the trigger's captions from which a tag is fused with it, leans on it, and is worth a look."""
FEWEST = 5
"""Captions; below that a share says nothing."""

_ENDINGS = (
    "eyes eye skin hair bun buns bangs cut sidelocks twintails braid braids afro ahoge drill drills bald dreadlocks"
    " ponytail updo beard mustache ears ear horn horns tail tails wings wing fang fangs halo freckles heterochromia"
    " hairclip hairpin hairband pupils eyelashes eyebrows iris scales feathers antlers fins"
)
_TRAIT = re.compile(
    r"(?:^|\s)(?:" + "|".join(_ENDINGS.split()) + r")$"
    r"|^hair (?:over|between|ornament|bow|ribbon|flower|bobbles|tie|rings|intakes)\b"
    r"|\bside up$|^mole (?:under|above|on)|^(?:crossed bangs|fang|facial mark|dark skin|tan|virtual youtuber)$"
    r"|^(?:flat chest|(?:small|medium|large|huge) breasts|muscular|petite|mature female)$"
)
"""imgutils' `is_basic_character_tag`, with what it lacks for VTubers: tails, fangs, halos, hair ornaments."""
_PASSING = frozenset(
    split(
        "closed eyes, half-closed eyes, empty eyes, rolling eyes, covering own eyes, one eye closed, drill, pubic hair,"
        "wet hair, messy hair, floating hair, holding hair, playing with own hair, hand in own hair, adjusting hair,"
        "wet skin, crazy eyes, wide-eyed, narrowed eyes, covered eyes, covering eyes, rubbing eyes, covering ears,"
        "hand on own ear, tail wagging"
    )
)
"""They end like traits and are moods or moments."""
_SUBJECT = re.compile(
    r"^(?:\d\+?(?:girl|boy|other)s?|multiple (?:girls|boys)|solo|solo focus|no humans|girl|boy|woman|man)$"
)


@dataclass(frozen=True, slots=True)
class Trait:
    """One tag beside the trigger. `count` and `share` are those of the captions that have the trigger."""

    tag: str
    count: int
    share: float
    category: str | None
    is_trait: bool
    """It belongs to the character's looks, as far as a name can tell; else to the picture (pose, background)."""
    suggestion: Suggestion
    sentence: str
    is_kept: bool = False
    """The user has decided to keep it."""


@dataclass(frozen=True, slots=True)
class TraitReport:
    """The traits of a trigger word, the most frequent first.

    `images` is the number of captions that have the trigger, `missing` of those that do not; `near_misses` are tags
    that look like the trigger misspelled.
    """

    trigger: tuple[str, ...]
    images: int
    missing: int
    traits: tuple[Trait, ...]
    near_misses: tuple[TagRow, ...]

    @property
    def open(self) -> tuple[Trait, ...]:
        """What should be decided before a training: traits to absorb that the user did not choose to keep."""
        return tuple(each for each in self.traits if each.suggestion == "absorb" and not each.is_kept)

    @property
    def passes(self) -> bool:
        """The gate: every caption has the trigger, it is spelled one way, and no trait is left to decide."""
        return not self.open and not self.missing and not self.near_misses and self.images > 0


def is_trait(tag: str) -> bool:
    """Whether a tag names a looks of the character that do not change from picture to picture, judged by its name."""
    key = tag_key(tag)
    return key not in _PASSING and _TRAIT.search(key) is not None


def traits(table: TagTable, trigger: str, keep: Collection[str] = ()) -> TraitReport:
    """The tags in at least 35 % of the captions that have `trigger` (one tag, or several separated by commas).

    `keep` are tags that the user has decided on. Nothing is said of fewer than five captions. Raises UserError for an
    empty trigger.
    """
    words = trigger_tags(trigger)
    images, rows = table.together(words)
    kept = {tag_key(tag) for tag in keep}
    found = []
    if images >= FEWEST:
        for row in rows:
            if row.share < SHOWN:
                break
            trait = _judged(row, images, words[0])
            found.append(replace(trait, is_kept=True) if tag_key(row.tag) in kept else trait)
    return TraitReport(tuple(words), images, table.captions - images, tuple(found), _near_misses(table, words, kept))


def _judged(row: TagRow, images: int, word: str) -> Trait:
    where = f"in {row.count:,} of {count_of(images, 'caption')}"
    whether = is_trait(row.tag)
    suggestion: Suggestion = "keep"
    if _SUBJECT.match(tag_key(row.tag)):
        sentence = f"{where}: it says what is shown, and the base model knows it; it may stay"
    elif row.category in {"rating", "meta", "quality"}:
        sentence = f"{where}: it is about the picture, not about {word}"
    elif whether and row.share >= ABSORB:
        suggestion = "absorb"
        sentence = f"{where}: after removal {word} carries it; kept, it must be written in every prompt"
    elif whether and row.share >= CONSIDER:
        suggestion = "consider"
        sentence = f"{where}: remove it if it belongs to {word}, keep it if it can change"
    elif whether:
        sentence = f"{where}: it varies, so keep it: prompts can choose it"
    elif row.share >= CONSIDER:
        sentence = f"{where}: no trait by its name; keep it, and add pictures without it, or {word} brings it along"
    else:
        sentence = f"{where}: no trait by its name; keep it"
    return Trait(row.tag, row.count, row.share, row.category, whether, suggestion, sentence)


def _near_misses(table: TagTable, words: list[str], kept: set[str]) -> tuple[TagRow, ...]:
    """Rare tags that no tagger knows and that differ from the trigger by a letter or two."""
    from difflib import SequenceMatcher

    own = [tag_key(word) for word in words]
    found = []
    for row in table.rows():
        key = tag_key(row.tag)
        if key in own or key in kept or row.category is not None or row.share > CONSIDER:
            continue
        for word in own:
            if len(word) < 4 or abs(len(word) - len(key)) > 2 or _SUBJECT.match(word):
                continue
            matcher = SequenceMatcher(None, word, key)
            if matcher.quick_ratio() > 0.85 and matcher.ratio() > 0.85:
                found.append(row)
                break
    return tuple(found)


def suggestions(report: TraitReport) -> Mapping[str, Trait]:
    """The traits of a report by the key of their tag."""
    return {tag_key(each.tag): each for each in report.traits}
