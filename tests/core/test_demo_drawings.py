"""The demo's drawings: what they promise about their pixels, their tags and their variety."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from core.demo.character import (
    BACKGROUNDS,
    CHARACTERS,
    EYE_COLOURS,
    GENERAL_TAGS,
    HAIR_COLOURS,
    MIKA,
    RINNI,
    CharacterSpec,
    random_spec,
    tags,
)
from core.demo.drawings import demo_images, draw


def test_the_same_spec_gives_the_same_pixels() -> None:
    """A workspace made twice holds the same pictures."""
    for seed in range(8):
        assert draw(random_spec(seed), (160, 240)).tobytes() == draw(random_spec(seed), (160, 240)).tobytes()


def test_two_seeds_give_two_pictures() -> None:
    """No two of many seeds look alike."""
    pictures = {draw(random_spec(seed), (96, 96)).tobytes() for seed in range(40)}
    assert len(pictures) == 40


@pytest.mark.parametrize("size", [(512, 512), (512, 768), (768, 512), (97, 131), (32, 32)])
def test_a_picture_has_exactly_the_asked_size(size: tuple[int, int]) -> None:
    """Every aspect ratio works, and so do odd and tiny sizes."""
    for background in BACKGROUNDS:
        picture = draw(replace(RINNI, background=background), size)
        assert picture.size == size
        assert picture.mode == ("RGBA" if background == "transparent" else "RGB")


def test_every_tag_changes_the_picture() -> None:
    """Whatever a caption says can be seen: without the thing the picture is another one."""
    plain = CharacterSpec(blush=False)
    changes: list[dict[str, object]] = [
        *({"hair": colour} for colour in HAIR_COLOURS if colour != plain.hair),
        *({"eyes": colour} for colour in EYE_COLOURS if colour != plain.eyes),
        *({"expression": name} for name in ("happy", "surprised", "calm", "frown")),
        *({"eye_state": name} for name in ("wink", "closed")),
        *({"ears": name} for name in ("cat", "rabbit", "fox")),
        *({"hat": name} for name in ("beret", "witch")),
        *({"ornament": name} for name in ("bow", "flower")),
        *({"outfit": name} for name in ("hoodie", "dress")),
        *({"background": name} for name in ("plain", "gradient", "dots", "meadow", "night", "blossom")),
        *({flag: True} for flag in ("twintails", "blunt_bangs", "ahoge", "horns", "halo", "blush", "glasses")),
        {"long_hair": False},
        {"framing": "portrait"},
    ]
    before = draw(plain, (256, 256))
    for change in changes:
        spec = replace(plain, **change)  # type: ignore[arg-type]
        different = ImageChops.difference(before, draw(spec, (256, 256))).convert("L").point([0] * 24 + [255] * 232)
        assert sum(different.histogram()[255:]) > 60, change
        assert tags(spec) != tags(plain), change


def test_tags_follow_danbooru() -> None:
    """A tag brings the tags that it implies, and never one that contradicts it."""
    implied = {
        "cat_ears": "animal_ears", "rabbit_ears": "animal_ears", "fox_ears": "animal_ears", "witch_hat": "hat",
        "beret": "hat", "white_background": "simple_background", "starry_sky": "sky", "cloud": "sky",
        "serafuku": "sailor_collar", "grass": "outdoors",
    }  # fmt: skip
    for seed in range(1500):
        found = tags(random_spec(seed))
        assert len(found) == len(set(found))
        assert set(found) <= {*GENERAL_TAGS, *CHARACTERS}
        assert {"1girl", "solo"} <= set(found)
        for tag, wider in implied.items():
            assert tag not in found or wider in found
        assert sum(tag in found for tag in HAIR_COLOURS) == 1
        assert sum(tag in found for tag in EYE_COLOURS) == (0 if "closed_eyes" in found else 1)
        assert ("closed_eyes" in found) != ("looking_at_viewer" in found)
        assert ("open_mouth" in found) != ("closed_mouth" in found)
        assert ("long_hair" in found) != ("short_hair" in found)
        assert not {"simple_background", "outdoors"} <= set(found)


def test_a_character_is_named_by_the_exact_look_only() -> None:
    """Pink hair and rabbit ears are not yet rinni."""
    assert "rinni_(demo)" in tags(RINNI)
    assert "mika_(demo)" in tags(MIKA)
    assert "rinni_(demo)" in tags(replace(RINNI, hat="beret", background="night", outfit="dress"))
    assert "rinni_(demo)" not in tags(replace(RINNI, eyes="green_eyes"))
    assert "rinni_(demo)" not in tags(replace(RINNI, eye_state="closed"))
    assert "mika_(demo)" not in tags(replace(MIKA, glasses=False))


def test_random_characters_reach_every_tag() -> None:
    """A tagger trained on them meets each tag often enough."""
    counts = Counter(tag for seed in range(3000) for tag in tags(random_spec(seed)))
    for tag in (*GENERAL_TAGS, *CHARACTERS):
        assert counts[tag] >= 60, tag


def test_a_transparent_picture_is_clear_around_the_figure() -> None:
    """The corners are transparent, the face is solid, and the edge does not glow."""
    picture = draw(replace(RINNI, background="transparent"), (256, 256))
    alpha = picture.getchannel("A")
    assert alpha.getpixel((2, 2)) == 0
    assert alpha.getpixel((128, 150)) == 255
    assert 0.3 < sum(alpha.histogram()[255:]) / 256**2 < 0.9


def test_the_demo_data_set_is_varied() -> None:
    """Two characters, mixed sizes for buckets, every mood and place, some pictures with transparency."""
    rows = list(demo_images())
    assert Counter(row[0] for row in rows) == {"rinni": 24, "mika": 12}
    names = [row[1] for row in rows]
    assert len(set(names)) == len(rows)
    assert {name.rsplit(".", 1)[1] for name in names} == {"png", "jpg", "webp"}
    sizes = {row[3] for row in rows}
    assert {(512, 512), (512, 768), (768, 512), (640, 640)} <= sizes
    assert {row[2].background for row in rows} == set(BACKGROUNDS)
    clear = [row for row in rows if row[2].background == "transparent"]
    assert len(clear) >= 3
    assert all(row[1].endswith(".png") for row in clear)
    for character, _, spec, _ in rows:
        named = [tag for tag in tags(spec) if tag in CHARACTERS]
        assert named == ([] if spec.eye_state == "closed" else [f"{character}_(demo)"])
    assert len({row[2] for row in rows}) == len(rows)


def test_demo_pictures_can_be_saved(tmp_path: Path) -> None:
    """Each one fits the kind of file that its name promises."""
    for _, name, spec, size in list(demo_images())[::6]:
        draw(spec, size).save(tmp_path / name)
        with Image.open(tmp_path / name) as saved:
            assert saved.size == size
