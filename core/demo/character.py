"""What a drawn character looks like, as a value, and the tags that are true of the picture."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

HAIR_COLOURS: Final = (
    "pink_hair",
    "blue_hair",
    "blonde_hair",
    "white_hair",
    "black_hair",
    "brown_hair",
    "green_hair",
    "purple_hair",
    "red_hair",
)
EYE_COLOURS: Final = ("blue_eyes", "red_eyes", "green_eyes", "purple_eyes", "yellow_eyes", "brown_eyes")

EXPRESSIONS: Final[dict[str, tuple[str, ...]]] = {
    "smile": ("smile", "closed_mouth"),
    "happy": ("smile", "open_mouth"),
    "surprised": ("open_mouth",),
    "calm": ("closed_mouth",),
    "frown": ("frown", "closed_mouth"),
}
EYE_STATES: Final[dict[str, tuple[str, ...]]] = {
    "open": ("looking_at_viewer",),
    "wink": ("one_eye_closed", "looking_at_viewer"),
    "closed": ("closed_eyes",),
}
EARS: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    "cat": ("cat_ears", "animal_ears"),
    "rabbit": ("rabbit_ears", "animal_ears"),
    "fox": ("fox_ears", "animal_ears"),
}
HATS: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    "beret": ("beret", "hat"),
    "witch": ("witch_hat", "hat"),
}
ORNAMENTS: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    "bow": ("hair_bow",),
    "flower": ("hair_flower",),
}
OUTFITS: Final[dict[str, tuple[str, ...]]] = {
    "sailor": ("serafuku", "sailor_collar"),
    "hoodie": ("hoodie",),
    "dress": ("dress", "choker"),
}
BACKGROUNDS: Final[dict[str, tuple[str, ...]]] = {
    "white": ("simple_background", "white_background"),
    # A tagger and a trainer see a transparent picture on white.
    "transparent": ("simple_background", "white_background"),
    "plain": ("simple_background",),
    "gradient": ("simple_background", "gradient_background"),
    "dots": ("polka_dot_background",),
    "meadow": ("outdoors", "sky", "cloud", "grass"),
    "night": ("outdoors", "sky", "night", "starry_sky"),
    "blossom": ("outdoors", "sky", "cherry_blossoms", "petals"),
}
FRAMINGS: Final = ("upper_body", "portrait")


@dataclass(frozen=True, slots=True)
class CharacterSpec:
    """Everything that decides a drawing: two equal specs drawn at one size give the same pixels."""

    hair: str = "pink_hair"
    eyes: str = "purple_eyes"
    long_hair: bool = True
    twintails: bool = False
    blunt_bangs: bool = False
    ahoge: bool = False
    ears: str = "none"
    horns: bool = False
    halo: bool = False
    hat: str = "none"
    ornament: str = "none"
    expression: str = "smile"
    eye_state: str = "open"
    blush: bool = True
    glasses: bool = False
    outfit: str = "sailor"
    colour: int = 0
    background: str = "white"
    backdrop: int = 0
    framing: str = "upper_body"
    tilt: float = 0.0
    shift: float = 0.0
    seed: int = 0


RINNI: Final = CharacterSpec(
    hair="pink_hair", eyes="purple_eyes", long_hair=True, ears="rabbit", ornament="bow", outfit="sailor", colour=0
)
MIKA: Final = CharacterSpec(
    hair="blue_hair", eyes="yellow_eyes", long_hair=False, blunt_bangs=True, ahoge=True, glasses=True, outfit="hoodie",
    colour=3,
)  # fmt: skip

RATINGS: Final = ("general", "sensitive", "questionable", "explicit")
CHARACTERS: Final[dict[str, CharacterSpec]] = {"rinni_(demo)": RINNI, "mika_(demo)": MIKA}
_LOOK: Final = ("hair", "eyes", "long_hair", "twintails", "ears")


def _vocabulary() -> tuple[str, ...]:
    names = ["1girl", "solo", *FRAMINGS, *HAIR_COLOURS, "long_hair", "short_hair", "twintails", "blunt_bangs", "ahoge"]
    names += EYE_COLOURS
    for table in (EYE_STATES, EXPRESSIONS, EARS, HATS, ORNAMENTS, OUTFITS, BACKGROUNDS):
        names += [tag for group in table.values() for tag in group]
    names += ["blush", "glasses", "horns", "halo"]
    return tuple(dict.fromkeys(names))


GENERAL_TAGS: Final = _vocabulary()


def tags(spec: CharacterSpec) -> list[str]:
    """The Danbooru tags that are seen to be true, underscored, in the order of GENERAL_TAGS; then a character's name.

    A character is named by hair, eyes, ears and twintails, and mika by her glasses too, whatever else she wears.
    With both eyes closed the colour of the eyes is not seen: neither it nor a name is given.
    """
    true = {"1girl", "solo", spec.framing, spec.hair, "long_hair" if spec.long_hair else "short_hair"}
    flags = ("twintails", "blunt_bangs", "ahoge", "horns", "halo", "blush", "glasses")
    true.update(flag for flag in flags if getattr(spec, flag))
    if spec.eye_state != "closed":
        true.add(spec.eyes)
    true.update(EYE_STATES[spec.eye_state], EXPRESSIONS[spec.expression], EARS[spec.ears], HATS[spec.hat])
    true.update(ORNAMENTS[spec.ornament], OUTFITS[spec.outfit], BACKGROUNDS[spec.background])
    names = [
        name
        for name, look in CHARACTERS.items()
        if spec.eye_state != "closed"
        and all(getattr(spec, field) == getattr(look, field) for field in _LOOK)
        and spec.glasses >= look.glasses
    ]
    return [tag for tag in GENERAL_TAGS if tag in true] + names


def _scene(r: random.Random) -> dict[str, object]:
    """What changes between two pictures of one character."""
    return {
        "expression": r.choices(list(EXPRESSIONS), (30, 28, 14, 14, 14))[0],
        "eye_state": r.choices(list(EYE_STATES), (72, 14, 14))[0],
        "blush": r.random() < 0.6,
        "background": r.choice(list(BACKGROUNDS)),
        "backdrop": r.randrange(24),
        "framing": r.choices(FRAMINGS, (70, 30))[0],
        "tilt": round(r.uniform(-8, 8), 2),
        "shift": round(r.uniform(-1, 1), 3),
        "seed": r.randrange(1 << 30),
    }


def random_spec(seed: int) -> CharacterSpec:
    """A character nobody has seen, or one in seven times rinni or mika in a new scene; the same for the same seed."""
    r = random.Random(seed)
    if r.random() < 1 / 7:
        look = r.choice((RINNI, MIKA))
        changes = _scene(r)
        if r.random() < 0.3:
            changes["hat"] = r.choice(("beret", "witch") if look.ears == "none" else ("beret",))
        return replace(look, **changes)  # type: ignore[arg-type]
    hat = r.choices(list(HATS), (64, 18, 18))[0]
    ears = "none" if hat == "witch" else r.choices(list(EARS), (40, 22, 19, 19))[0]
    long_hair = r.random() < 0.5
    # A beret and a halo would hide or crowd what grows out of the top of the head.
    crown = r.choices(("none", "horns", "halo"), (60, 20, 20))[0] if hat == "none" and ears == "none" else "none"
    if ears == "none" and hat == "beret" and r.random() < 0.2:
        crown = "horns"
    return CharacterSpec(
        hair=r.choice(HAIR_COLOURS),
        eyes=r.choice(EYE_COLOURS),
        long_hair=long_hair,
        twintails=long_hair and r.random() < 0.4,
        blunt_bangs=r.random() < 0.4,
        ahoge=hat == "none" and r.random() < 0.35,
        ears=ears,
        horns=crown == "horns",
        halo=crown == "halo",
        hat=hat,
        ornament=r.choices(list(ORNAMENTS), (56, 22, 22))[0],
        glasses=r.random() < 0.25,
        outfit=r.choice(list(OUTFITS)),
        colour=r.randrange(6),
        **_scene(r),  # type: ignore[arg-type]
    )
