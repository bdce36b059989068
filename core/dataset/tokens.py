"""How many tokens of CLIP's text encoder a caption takes (SD1.5 and SDXL); 75 fit into one chunk.

A byte-pair counter over CLIP's own merges (openai/CLIP, MIT), which gives the counts of transformers' CLIPTokenizer
with ftfy. Captions repeat their tags, so every word is counted once and remembered. Of ftfy's repairs only mojibake is
left out.
"""

from __future__ import annotations

import functools
import gzip
import html
import itertools
import re
import unicodedata
from pathlib import Path

CHUNK = 75
"""Tokens that one chunk holds besides start and end; max_token_length 150 and 225 are two and three of them."""
LARGEST = 225
"""The largest max_token_length of sd-scripts."""

_MERGES = Path(__file__).with_name("clip") / "merges.txt.gz"
_LONGEST = 1000
"""Merging takes the square of a piece's length: a longer run of letters is no tag, and is counted in slices."""
_SPECIAL = re.compile(r"<\|startoftext\|>|<\|endoftext\|>")
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")
_QUOTES = {ord(quote): "'" for quote in "\u02bc\u2018\u2019\u201a\u201b"} | {
    ord(quote): '"' for quote in "\u201c\u201d\u201e\u201f"
}
_LIGATURES = {
    ord("Ĳ"): "IJ", ord("ĳ"): "ij", ord("ŉ"): "ʼn", ord("Ǳ"): "DZ", ord("ǲ"): "Dz", ord("ǳ"): "dz", ord("Ǆ"): "DŽ",
    ord("ǅ"): "Dž", ord("ǆ"): "dž", ord("Ǉ"): "LJ", ord("ǈ"): "Lj", ord("ǉ"): "lj", ord("Ǌ"): "NJ", ord("ǋ"): "Nj",
    ord("ǌ"): "nj", ord("ﬀ"): "ff", ord("ﬁ"): "fi", ord("ﬂ"): "fl", ord("ﬃ"): "ffi", ord("ﬄ"): "ffl", ord("ﬅ"): "ſt",
    ord("ﬆ"): "st",
}  # fmt: skip
_CONTROLS = dict.fromkeys((*range(9), 11, *range(14, 32), 127, 65279)) | dict.fromkeys(
    (*range(0x206A, 0x2070), *range(0xFFF9, 0xFFFD))
)
_WIDTHS = {0x3000: " "} | {
    code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFF0) if unicodedata.name(chr(code), "")
}
_TERMINAL = re.compile(r"\x1b\[((?:\d|;)*)([a-zA-Z])")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")


def count_tokens(text: str) -> int:
    """Tokens of `text` without the start and the end token. sd-scripts cuts what is beyond its limit, silently."""
    if not text.isascii() or "&" in text or "\x1b" in text:
        text = _repaired(text)
    return sum(map(_count_word, text.lower().split()))


def tag_ends(line: str, most: int = LARGEST) -> list[int]:
    """Tokens from the beginning of `line` to the end of each of its tags (those of captions.split).

    Ends with the first tag that goes beyond `most`: a tag that is not listed lies behind it.
    """
    ends: list[int] = []
    at = -1
    while at < len(line):
        start, at = at + 1, line.find(",", at + 1)
        at = len(line) if at < 0 else at
        if line[start:at].strip():
            ends.append(count_tokens(line[:at]))
            if ends[-1] > most:
                break
    return ends


def _repaired(text: str) -> str:
    """What ftfy.fix_text does to text that is not mojibake; it leaves HTML entities where there is a `<`."""
    if "<" not in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    text = _TERMINAL.sub("", text)
    text = text.translate(_LIGATURES).translate(_WIDTHS).translate(_QUOTES)
    return unicodedata.normalize("NFC", text.translate(_CONTROLS))


@functools.lru_cache(maxsize=1 << 16)
def _count_word(word: str) -> int:
    """Tokens of a piece without blanks, in lower case."""
    if "<|" in word and _SPECIAL.search(word):
        rest = _SPECIAL.sub(" ", word).split()
        return len(_SPECIAL.findall(word)) + sum(map(_count_word, rest))
    shape = word if word.isascii() else "".join(map(_shape, word))
    return sum(_count_piece(word[match.start() : match.end()]) for match in _PIECES.finditer(shape))


def _shape(char: str) -> str:
    if char.isascii():
        return char
    kind = unicodedata.category(char)[0]
    return "a" if kind == "L" else "0" if kind == "N" else "!"


def _count_piece(piece: str) -> int:
    if len(piece) > _LONGEST:
        return sum(_count_piece(piece[at : at + _LONGEST]) for at in range(0, len(piece), _LONGEST))
    ranks = _ranks()
    symbols = [_byte_signs()[byte] for byte in piece.encode("utf-8", "replace")]
    symbols[-1] += "</w>"
    while len(symbols) > 1:
        pairs = [ranks.get(f"{a} {b}", 1 << 30) for a, b in itertools.pairwise(symbols)]
        best = min(pairs)
        if best == 1 << 30:
            break
        merged: list[str] = []
        at = 0
        while at < len(symbols):
            if at < len(pairs) and pairs[at] == best:
                merged.append(symbols[at] + symbols[at + 1])
                at += 2
            else:
                merged.append(symbols[at])
                at += 1
        symbols = merged
    return len(symbols)


@functools.cache
def _ranks() -> dict[str, int]:
    lines = gzip.decompress(_MERGES.read_bytes()).decode("utf-8").split("\n")
    merges = lines[1:] if lines[0].startswith("#") else lines
    return {pair: rank for rank, pair in enumerate(merges) if pair}


@functools.cache
def _byte_signs() -> list[str]:
    """The printable sign that stands for each byte in CLIP's merges (openai/CLIP, `bytes_to_unicode`)."""
    kept = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]
