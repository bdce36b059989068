"""Which images of an index a filter means. 100,000 images: a tag takes 0.1 ms, a piece of text up to 50."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.dataset import captions
from core.dataset.arrays import Arrays, Mask, arrays_of
from core.dataset.chunks import HAS_CAPTION, HAS_ERROR, IS_PLAIN, IS_SINGLE, IS_UNTAGGED
from core.dataset.filter_text import expression, finder
from core.dataset.filter_tree import (
    And,
    Comparison,
    FilterError,
    Node,
    Not,
    Number,
    OfTag,
    Or,
    Pattern,
    Tag,
    Text,
    Word,
)

if TYPE_CHECKING:
    from core.dataset.index import Index

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
NEAR = 0.005
"""Ratios that are so near to each other are the same: 2:3 is 0.667."""
DEEPEST = 20


Stop = Callable[[], bool]


class GivenUp(Exception):
    """`Sources.stop` said that the answer is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a filter needs and the files of the dataset do not say. None: not known here, which a filter that asks for
    it says with its column and `hints`.
    """

    reviewed: Callable[[], Iterable[int]] | None = None
    """The numbers of those images, as of `marked` and `changed`."""
    marked: Callable[[], Iterable[int]] | None = None
    changed: Callable[[], Iterable[int]] | None = None
    score: Callable[[str, Stop], NDArray[np.float32] | None] | None = None
    """float32 [n] of a tag, by its `captions.tag_key`, in the order of the index: NaN where an image was not tagged.
    None: no model of this workspace knows it."""
    ratings: Callable[[Stop], NDArray[np.int8] | None] | None = None
    """int8 [n]: place in RATINGS of the highest one, -1 where an image was not tagged."""
    confidence: Callable[[Stop], NDArray[np.float32] | None] | None = None
    """float32 [n]: the score of the tag in its caption of which the tagger is least sure, NaN where there is none; to
    sort by (orders). None: nothing was tagged here."""
    duplicates: Callable[[Stop], Iterable[int]] | None = None
    """The numbers of images of which there is another."""
    bucket: Callable[[], Callable[[tuple[int, int]], tuple[int, int] | None] | None] | None = None
    """What gives the bucket that an image of a size goes to; None without a config."""
    saved: Mapping[str, str] = field(default_factory=dict)
    stop: Stop = lambda: False


HINTS = {
    "is:reviewed": "Review marks are kept in a workspace.",
    "is:marked": "Marks are made in the app and live as long as it.",
    "is:changed": "What was changed is known in a workspace, from its journal.",
    "score(…)": "Tag the dataset with kohya-tui first: the scores are stored.",
    "rating:": "Tag the dataset with kohya-tui first: the scores are stored.",
    "bucket:": "It needs a config that trains on this dataset: that says the resolution.",
    "dup:": "Duplicates are not looked for here.",
}


def match(index: Index, node: Node, sources: Sources) -> Mask:
    """bool [index.read]: the images that pass. Raises FilterError for what cannot be answered, GivenUp."""
    return Matcher(index, sources).match(node)


class Matcher:
    """Answers about one state of an index."""

    def __init__(self, index: Index, sources: Sources) -> None:
        self._index, self._sources = index, sources
        self._arrays: Arrays = arrays_of(index)
        self._over = {number: ids for number, ids in list(index.over.items()) if number < self._arrays.n}
        self._depth = 0

    def match(self, node: Node, among: Mask | None = None) -> Mask:
        """`among`: only these are asked about (others may come out either way)."""
        if self._sources.stop():
            raise GivenUp
        n = self._arrays.n
        match node:
            case And(nodes):
                found = np.ones(n, np.bool_) if among is None else among
                for each in sorted(nodes, key=_cost):
                    found = found & self.match(each, found)
                return found
            case Or(nodes):
                found = np.zeros(n, np.bool_)
                for each in sorted(nodes, key=_cost):
                    wanted = ~found if among is None else among & ~found
                    found = found | (self.match(each, wanted) & wanted)
                return found
            case Not(inner):
                return ~self.match(inner, among)
            case Text():
                return self._text(node, among)
            case Tag(pattern, is_missing):
                found = self._tag(pattern)
                return ~found if is_missing else found
            case Number():
                return self._number(node, among)
            case OfTag("pos"):
                return self._position(node)
            case OfTag():
                return self._score(node)
            case Word():
                return self._word(node)

    # Text

    def _text(self, node: Text, among: Mask | None) -> Mask:
        test = finder(node.pattern)
        index, n = self._index, self._arrays.n
        found = np.zeros(n, np.bool_)
        if node.where in {"", "name"}:
            found |= self._texts(index.names, lambda name: test(name.casefold()), among)
        if node.where == "path":
            start = 0
            for place, subset in enumerate(index.subsets):
                end = min(n, index.range_of(subset.name).stop)
                prefix = index.prefix(place).casefold()
                names = index.names[start:end]
                found[start:end] = [test(prefix + name.casefold()) for name in names]
                start = end
        if node.where in {"", "caption"}:
            found |= self._caption(node.pattern, test, among if node.where else _and_not(among, found))
        return found

    def _caption(self, pattern: Pattern, test: Callable[[str], bool], among: Mask | None) -> Mask:
        """In the tags where that is the same, as a vocabulary is far shorter than what is written with it."""
        index, arrays = self._index, self._arrays
        flags = arrays.flags
        is_text: Mask = (flags & (HAS_CAPTION | HAS_ERROR)) == HAS_CAPTION
        literal = pattern.literal
        if "," in literal or not pattern.is_plain or literal != literal.strip() or len(index.words) > arrays.n // 4:
            found: Mask = self._texts(index.folded, test, is_text if among is None else among & is_text) & is_text
            return found
        found = self._having([number for number, word in enumerate(index.words) if test(word.casefold())])
        further = is_text & ((flags & IS_SINGLE) == 0) & ~found
        if further.any():
            found = found | (self._texts(index.folded, test, further) & further)
        found &= is_text
        return found

    def _texts(self, texts: list[str], test: Callable[[str], bool], among: Mask | None) -> Mask:
        n = self._arrays.n
        if among is not None and int(among.sum()) < n:
            found = np.zeros(n, np.bool_)
            for number in np.flatnonzero(among).tolist():
                found[number] = test(texts[number])
            return found
        return np.frombuffer(bytes(map(test, texts[:n])), np.bool_)

    # Tags

    def _tag(self, pattern: Pattern) -> Mask:
        return self._having(self._words(pattern))

    def _words(self, pattern: Pattern) -> list[int]:
        """The spellings that are meant."""
        words = self._index.words
        if pattern.is_plain:
            key = captions.tag_key(pattern.literal)
            last = key.rpartition(" ")[2]  # most words are out at once
            near = (number for number, word in enumerate(words) if last in word.casefold())
            return [number for number in near if captions.tag_key(words[number]) == key]
        whole = re.compile(expression(captions.tag_key(pattern.text)), re.DOTALL).fullmatch
        return [number for number, word in enumerate(words) if whole(captions.tag_key(word))]

    def _having(self, words: list[int]) -> Mask:
        found = self._arrays.images_of(words)
        wanted = set(words)
        for number, ids in self._over.items():
            found[number] = not wanted.isdisjoint(ids)
        return found

    def _position(self, node: OfTag) -> Mask:
        """Where in its caption the tag stands first, from 1."""
        arrays = self._arrays
        wanted = set(self._words(node.pattern))
        is_wanted = np.zeros(len(self._index.words) + 1, np.bool_)
        is_wanted[list(wanted)] = True
        entries = np.flatnonzero(is_wanted[arrays.tag_ids])[::-1]
        places = np.zeros(arrays.n, np.int64)
        images = arrays.owners[entries]
        places[images] = entries - arrays.offsets[images] + 1  # the first one is written last
        for number, ids in self._over.items():
            places[number] = next((at for at, word in enumerate(ids, 1) if word in wanted), 0)
        found: Mask = _compared(places, node.comparison) & (places > 0)
        return found

    # Numbers

    def _number(self, node: Number, among: Mask | None) -> Mask:
        comparison, arrays = node.comparison, self._arrays
        if node.what in {"w", "h", "ratio"}:
            width, height = arrays.sizes[:, 0], arrays.sizes[:, 1]
            is_known: Mask = (width > 0) & (height > 0)
            if node.what == "ratio":
                is_known &= _compared(width / np.maximum(height, 1), comparison, NEAR)
            else:
                is_known &= _compared(width if node.what == "w" else height, comparison)
            return is_known
        if node.what == "tags":
            counts = arrays.counts.astype(np.int64)
            for number, ids in self._over.items():
                counts[number] = len(ids)
            return _compared(counts, comparison)
        if node.what == "chars":
            texts = self._index.texts
            lengths = np.fromiter((len(text) for text in texts[: arrays.n]), np.int64, arrays.n)
            is_text: Mask = (arrays.flags & HAS_ERROR) == 0
            return is_text & _compared(lengths, comparison)
        return _compared(self._tokens(among), comparison)

    def _tokens(self, among: Mask | None) -> NDArray[np.int64]:
        """CLIP tokens of the first line. Those of tags add up, each counted once with the comma that follows it."""
        from core.dataset.tokens import count_tokens

        index, arrays = self._index, self._arrays
        within, last = _token_tables(index)
        counts = arrays.sums(within)
        filled = arrays.counts > 0
        ends = arrays.tag_ids[arrays.offsets[1:][filled] - 1]
        counts[filled] += (last - within)[ends]
        one_by_one = (arrays.flags & IS_PLAIN) == 0
        one_by_one[list(self._over)] = True
        if among is not None:
            one_by_one &= among
        for done, number in enumerate(np.flatnonzero(one_by_one).tolist()):
            if done % 500 == 0 and self._sources.stop():
                raise GivenUp
            text = index.caption(number)
            counts[number] = count_tokens(captions.first_line(text)) if text else 0
        return counts

    def _score(self, node: OfTag) -> Mask:
        score = self._known(self._sources.score, "score(…)", node.column)
        if not node.pattern.is_plain:
            raise FilterError("score(…) wants one tag, without * and ?", node.column)
        tag = node.pattern.literal
        column = score(captions.tag_key(tag), self._sources.stop)
        if column is None:
            hint = "Tag the dataset first, with a model that knows it; it must be spelled as the tagger spells it."
            raise FilterError(f"no stored scores know the tag {tag}", node.column, hint)
        values = column[: self._arrays.n]
        value = np.float32(node.comparison.value)
        found: Mask = COMPARE[node.comparison.sign](values, value) & ~np.isnan(values)
        return found

    # Words

    def _word(self, node: Word) -> Mask:
        arrays, sources = self._arrays, self._sources
        match node.what:
            case "is":
                return self._state(node)
            case "rating":
                from core.dataset.filter_tree import RATINGS

                ratings = self._known(sources.ratings, "rating:", node.column)(sources.stop)
                if ratings is None:
                    raise FilterError("There are no stored ratings", node.column, HINTS["rating:"])
                found: Mask = ratings[: arrays.n] == RATINGS.index(node.value)
                return found
            case "bucket":
                bucket = self._known(sources.bucket and sources.bucket(), "bucket:", node.column)
                width, _, height = node.value.partition("x")
                sizes, which = np.unique(arrays.sizes, axis=0, return_inverse=True)
                wanted = (int(width), int(height))
                fits = [size[0] > 0 and bucket((size[0], size[1])) == wanted for size in sizes.tolist()]
                return np.array(fits, np.bool_)[which.reshape(-1)] if fits else np.zeros(arrays.n, np.bool_)
            case "dup":
                return self._these(self._known(sources.duplicates, "dup:", node.column)(sources.stop))
            case "saved":
                return self._saved(node)
        raise AssertionError(node.what)

    def _state(self, node: Word) -> Mask:
        arrays, sources = self._arrays, self._sources
        match node.value:
            case "untagged":
                untagged: Mask = (arrays.flags & IS_UNTAGGED) != 0
                return untagged
            case "broken":
                broken: Mask = ((arrays.flags & HAS_ERROR) != 0) | (arrays.sizes[:, 0] == 0)
                return broken
        own = {"reviewed": sources.reviewed, "marked": sources.marked, "changed": sources.changed}
        return self._these(self._known(own[node.value], f"is:{node.value}", node.column)())

    def _these(self, numbers: Iterable[int]) -> Mask:
        found = np.zeros(self._arrays.n, np.bool_)
        found[[number for number in numbers if number < self._arrays.n]] = True
        return found

    def _saved(self, node: Word) -> Mask:
        from core.dataset.filter_parse import parse

        saved = {name.casefold(): query for name, query in self._sources.saved.items()}
        query = saved.get(node.value.casefold())
        if query is None:
            there = ", ".join(sorted(self._sources.saved)) or "none yet"
            raise FilterError(f"There is no saved filter {node.value}", node.column, f"There are: {there}.")
        self._depth += 1
        if self._depth > DEEPEST:
            raise FilterError(f"The saved filter {node.value} asks for itself", node.column)
        try:
            return self.match(parse(query))
        except FilterError as error:
            raise FilterError(f"The saved filter {node.value} is wrong: {error.message}", node.column) from error
        finally:
            self._depth -= 1

    def _known(self, source: Any, what: str, column: int) -> Any:
        if source is None:
            raise FilterError(f"{what} is not known here", column, HINTS[what])
        return source


def _and_not(among: Mask | None, found: Mask) -> Mask | None:
    return ~found if among is None else among & ~found


def _cost(node: Node) -> int:
    """What is quickly answered comes first: it leaves less to the others."""
    match node:
        case And(nodes) | Or(nodes):
            return max(map(_cost, nodes), default=0)
        case Not(inner):
            return _cost(inner)
        case Text():
            return 2
        case Number("tokens") | Word("dup") | Word("saved"):
            return 3
        case OfTag():
            return 1
    return 0


def _compared(values: NDArray[Any], comparison: Comparison, near: float = 0.0) -> Mask:
    found: Mask
    if near and comparison.sign in {"=", "!="}:
        found = (np.abs(values - comparison.value) < near) == (comparison.sign == "=")
    else:
        found = COMPARE[comparison.sign](values, comparison.value)
    return found


def _token_tables(index: Index) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [words]: tokens of a tag with the comma behind it, and without. Kept: they never change."""
    from core.dataset.tokens import count_tokens

    within, last = index.memo.setdefault("tokens", ([], []))
    for word in index.words[len(within) :]:
        within.append(count_tokens(f"{word},"))
        last.append(count_tokens(word))
    return np.array([*within, 0], np.int64), np.array([*last, 0], np.int64)
