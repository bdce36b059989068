"""Tags that are left out on the way: named sets of them, tags that a longer one implies, thresholds of single tags.

The rules follow dghs-imgutils (imgutils/tagging: blacklist.py, match.py, overlap.py), where they are applied to
finished captions; the sources of the lists stand beside them. What a trait is, core.dataset.traits says for all.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from core.dataset.captions import tag_key
from core.problems import UserError
from core.tagging.options import MERGES, ORDERS, THRESHOLDS, CaptionOptions, parse_replacements

_COLOURS = frozenset(
    {"aqua", "beige", "black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "tan", "white"}
    | {"yellow"}
)


@dataclass(frozen=True, slots=True)
class TagSet:
    """Tags that can be left out by one name: those in `tags` (lower case, blanks) and those that `rule` takes."""

    name: str
    note: str
    tags: frozenset[str] = frozenset()
    rule: Callable[[str], bool] | None = None

    def holds(self, tag: str) -> bool:
        """Whether the tag is in the set, in any spelling: case and underscores do not count."""
        tag = tag_key(tag)
        return tag in self.tags or (self.rule is not None and self.rule(tag))


def _is_trait(tag: str) -> bool:
    from core.dataset.traits import is_trait  # only where the set is asked for

    return is_trait(tag)


def _set(name: str, note: str, text: str, rule: Callable[[str], bool] | None = None) -> TagSet:
    return TagSet(name, note, frozenset(tag.strip() for tag in text.split(",") if tag.strip()), rule)


SETS: Mapping[str, TagSet] = {
    each.name: each
    for each in (
        # hollowstrawberry/kohya-colab, Dataset_Maker.ipynb: its default blacklist.
        _set(
            "colab",
            "what kohya-colab leaves out: virtual youtuber, parody, alternate costumes and hair",
            "virtual youtuber, parody, style parody, official alternate costume, official alternate hairstyle, "
            "official alternate hair length, alternate costume, alternate hairstyle, alternate hair length, "
            "alternate hair color",
        ),
        # cyber-meow/anime_screenshot_pipeline, configs/tag_filtering/blacklist_tags.txt (MIT), which waifuc and
        # dghs-imgutils use; the official_… forms of the line above are added.
        _set(
            "alternate",
            "other costumes, hair, ages, forms than the character's own; cosplay, parody, virtual youtuber",
            "alternate costume, alternate breast size, alternate color, alternate eye color, alternate form, "
            "alternate hair color, alternate hair length, alternate hairstyle, alternate headwear, alternate legwear, "
            "alternate pectoral size, alternate skin color, alternate universe, alternate weapon, alternate wings, "
            "official alternate costume, official alternate hairstyle, official alternate hair length, "
            "cosplay, casual, adapted costume, contemporary, bimbofication, aged down, aged up, no eyewear, "
            "age progression, genderswap, genderswap (mtf), genderswap (ftm), crossdressing, parody, style parody, "
            "virtual youtuber, feet out of frame, head out of frame",
        ),
        _set("traits", "what a character always looks like: hair, eyes, ears, tail, horns, skin", "", _is_trait),
        # Danbooru's tag groups of text, backgrounds, censorship and of the file itself.
        _set(
            "text",
            "signatures, watermarks, names and web addresses on the picture",
            "signature, watermark, sample watermark, artist name, artist logo, twitter username, patreon username, "
            "pixiv username, instagram username, username, web address, patreon logo, twitter logo, pixiv logo, logo, "
            "copyright name, copyright notice, character name, dated, circle name, company name, group name",
        ),
        _set(
            "background",
            "plain backgrounds",
            "simple background, white background, grey background, black background, transparent background, "
            "gradient background, two-tone background, blurry background",
            lambda tag: tag.removesuffix(" background") in _COLOURS and tag.endswith(" background"),
        ),
        _set(
            "censor",
            "censored pictures",
            "censored, mosaic censoring, bar censor, blank censor, light censor, heart censor, novelty censor, "
            "censored nipples, convenient censoring, pointless censoring, identity censor, uncensored",
        ),
        _set(
            "file",
            "what belongs to the file and not to the picture",
            "highres, absurdres, incredibly absurdres, lowres, bad id, bad pixiv id, bad twitter id, commentary, "
            "commentary request, english commentary, translation request, translated, partial commentary, "
            "photoshop (medium), jpeg artifacts, scan, scan artifacts, official art, duplicate, revision, md5 mismatch",
        ),
    )
}
"""The sets that `--blacklist` knows. A user adds own ones to the settings file: `[blacklists]`, `mine = ["tag", …]`."""

_NEGATING = frozenset({"no", "not", "missing", "without", "implied", "imminent", "alternate", "covered", "unworn"})
_MOST_WORDS = 12
"""A tag of more is a sentence that somebody wrote."""
_IMPLIED: Mapping[str, str] = {
    specific: general
    for general, specifics in {
        # One word each, so that the rule of words cannot see them: Danbooru's tag implications, after
        # cyber-meow/anime_screenshot_pipeline, configs/tag_filtering/overlap_tags_simplified.json (MIT).
        "animal ears": "cat ears,dog ears,fox ears,wolf ears,rabbit ears,horse ears,mouse ears,bear ears,cow ears",
        "bow": "bowtie",
        "breasts": "cleavage,sideboob,underboob,backboob",
        "dress": "sundress,microdress",
        "hair ornament": "hairclip,hairpin,hair flower,hair bell,hair bobbles,hair scrunchie,hair stick,kanzashi",
        "hat": "beret,beanie,fedora,baseball cap,peaked cap,mob cap,flat cap,garrison cap,nurse cap,nightcap",
        "multiple boys": "2boys,3boys,4boys,5boys,6+boys",
        "multiple girls": "2girls,3girls,4girls,5girls,6+girls",
        "shirt": "t-shirt,blouse",
        "skirt": "miniskirt,microskirt",
        "smile": "grin,:d,xd,c:",
        "swimsuit": "bikini",
        "thighhighs": "over-kneehighs",
        "very long hair": "absurdly long hair",
    }.items()
    for specific in specifics.split(",")
}


@lru_cache(maxsize=1 << 15)
def implied_by(tag: str) -> frozenset[str]:
    """The folded tags that say nothing beside `tag` (any spelling).

    `drop_overlap_tags` of dghs-imgutils (imgutils/tagging/overlap.py) drops a tag whose text is in another's, or that a
    table gives. Here whole words count, at the end of the longer tag (`very long hair` implies `long hair` and `hair`;
    `grass` does not imply `ass`), or at its beginning where that is a verb (`holding sword` implies `holding`): `cat
    ears` implies no `cat`, `dress shirt` no `dress`, `no shirt` no `shirt`, `bow (weapon)` no `bow`.
    """
    tag = tag_key(tag)
    words = tag.split()
    if len(words) > _MOST_WORDS:
        return frozenset()
    found = set()
    for start in range(1, len(words)):
        rest = " ".join(words[start:])
        if _NEGATING.isdisjoint(words[:start]) and not rest.startswith("("):
            found.add(rest)
    if len(words) > 1 and words[0].endswith("ing") and not words[1].startswith("("):
        found.add(words[0])
    for each in (tag, *tuple(found)):
        general = _IMPLIED.get(each)
        if general is not None and general != tag:
            found |= {general, *implied_by(general)}
    return frozenset(found - {tag})


def overlapped(tags: Iterable[str]) -> frozenset[str]:
    """Those of `tags`, as they are spelled, that another of them implies."""
    spelled = list(tags)
    implied = frozenset().union(*map(implied_by, spelled)) if spelled else frozenset()
    return frozenset(tag for tag in spelled if tag_key(tag) in implied)


def parse_tag_thresholds(text: str) -> dict[str, float]:
    r"""`blush=0.6;smile=0.5` by folded tag; the last `=` counts (`=_==0.9`), `\;` is a semicolon inside a tag.

    Raises UserError when an entry has no tag or no number from 0 to 2.
    """
    found = {}
    for entry in re.split(r"(?<!\\);", text):
        if not entry.strip():
            continue
        name, _, number = entry.rpartition("=")
        name = tag_key(name.replace("\\;", ";"))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not 0 < value <= 2:
            raise UserError(
                f"--tag_thresholds: {entry.strip()!r} is not of the form tag=0.5",
                r"Write blush=0.6;smile=0.5, above 1 for a tag that is never written, and \; for a semicolon in a tag.",
            )
        found[name] = value
    return found


def own_sets() -> dict[str, TagSet]:
    """The sets of the user's settings file."""
    from core.settings import load

    return {
        name: TagSet(name, "of your settings", frozenset(map(tag_key, tags)))
        for name, tags in load().blacklists.items()
    }


def find_sets(names: str) -> list[TagSet]:
    """The sets named in `text,alternate`; the user's own come before ours.

    Raises UserError for a name that there is not.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        return []
    known = {**SETS, **own_sets()}
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UserError(
                f"There is no set of tags named {name!r}",
                (f"Did you mean {near[0]}? " if near else "")
                + f"There are: {', '.join(known)}. Your own: [blacklists] in the settings file.",
            )
    return [known[name] for name in wanted]


def check_options(options: CaptionOptions) -> None:
    """UserError that names the first option that cannot be: what a form or a command line may contain and a run not."""
    parse_replacements(options.tag_replacement)
    parse_tag_thresholds(options.tag_thresholds)
    find_sets(options.blacklist)
    _one_of("--merge", options.merge, MERGES)
    _one_of("--tag_order", options.tag_order, ORDERS)
    for name in ("thresh", *(f"{category}_threshold" for category in THRESHOLDS)):
        value = getattr(options, name)
        if value is not None and not math.isfinite(value):
            raise UserError(f"--{name}: {value} is no threshold", "Write a number from 0 to 1; above 1 is off.")


def _one_of(option: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise UserError(f"{option}: there is no {value!r}", f"It is one of {', '.join(choices)}.")
