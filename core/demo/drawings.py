"""The demo's pictures: characters drawn by code, the same pixels on every machine with the same Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from core.demo import accessories, figure, scenery
from core.demo.character import MIKA, RINNI, CharacterSpec, random_spec, tags
from core.demo.pen import Pen

__all__ = ["CharacterSpec", "demo_images", "draw", "random_spec", "tags"]


def draw(spec: CharacterSpec, size: tuple[int, int] = (512, 512)) -> Image.Image:
    """The character as an image of exactly that size (width, height): RGBA for a transparent background, else RGB.

    Drawn two to four times larger and averaged down; 20 ms for 512x512.
    """
    scale = 4 if max(size) <= 160 else 3 if max(size) <= 640 else 2
    w, h = size[0] * scale, size[1] * scale
    image = scenery.paint(spec, (w, h))
    top = _top(spec)
    if spec.framing == "portrait":  # the face fills the picture; tall ears may leave it
        unit = min(w / 2.5, h / 3.3)
        y = max(min(top, 1.9) + 0.1, h / unit * 0.48)
    else:  # whatever stands on the head is seen, and the collar with its bow
        unit = min(w / 3.2, h / max(4.2, top + 2.25))
        y = max(top + 0.14, min(h / unit * 0.46, 3.0))
    x = w / 2 + spec.shift * (0.12 * unit + max(0.0, w - 3.2 * unit) * 0.12)
    pen = Pen(image, unit, x, y * unit)
    head = pen.turned(spec.tilt, (0, 1.0))
    crown = head.moved(0, 0.12)
    if spec.halo:
        accessories.halo(crown)
    figure.back_hair(head, spec)
    figure.body(pen.moved(0, -0.08), spec)
    accessories.ears(crown, spec)
    figure.face(head, spec)
    figure.eyes(head, spec)
    figure.front_hair(head, spec)
    figure.brows(head, spec)
    if spec.ahoge and spec.hat == "none":
        accessories.ahoge(crown, spec)
    if spec.glasses:
        accessories.glasses(head)
    accessories.hat(crown, spec)
    accessories.ornament(head, spec)
    return image.reduce(scale)


def _top(spec: CharacterSpec) -> float:
    """How far the figure reaches above the middle of the face, in figure units."""
    reach = 1.33
    if spec.ahoge or spec.ears == "cat" or spec.hat == "beret":
        reach = 1.9
    if spec.halo or spec.horns:
        reach = 2.0
    if spec.ears == "fox":
        reach = 2.2
    if spec.ears == "rabbit" or spec.hat == "witch":
        reach = 2.5
    return reach


def demo_images() -> Iterator[tuple[str, str, CharacterSpec, tuple[int, int]]]:
    """The demo's data set, as (character, file name, spec, size): 24 of rinni, 12 of mika, in mixed sizes and shapes.

    Names end in .png, .jpg or .webp; a transparent picture is always a .png.
    """
    yield from _series("rinni", RINNI, 24, first=1)
    yield from _series("mika", MIKA, 12, first=5)


_SIZES = ((512, 512), (512, 768), (640, 640), (768, 512), (512, 512), (512, 640), (448, 704), (384, 384))
_PLACES = ("meadow", "gradient", "blossom", "white", "night", "dots", "transparent", "plain")
_MOODS = (
    ("happy", "open"),
    ("smile", "open"),
    ("smile", "wink"),
    ("calm", "open"),
    ("happy", "closed"),
    ("surprised", "open"),
    ("frown", "open"),
    ("smile", "closed"),
    ("happy", "wink"),
)


def _series(
    name: str, look: CharacterSpec, count: int, first: int
) -> Iterator[tuple[str, str, CharacterSpec, tuple[int, int]]]:
    for i in range(count):
        # Each list is walked at its own pace, so that moods, places and sizes meet in ever new pairs.
        place = _PLACES[(i * 3 + i // 8 + first) % len(_PLACES)]
        expression, eye_state = _MOODS[(i * 2 + first) % len(_MOODS)]
        hat = {3: "beret", 8: "beret" if look.ears != "none" else "witch"}.get(i % 11, "none")
        spec = replace(
            look,
            expression=expression,
            eye_state=eye_state,
            hat=hat,
            ahoge=look.ahoge and hat == "none",
            blush=i % 3 != 1,
            background=place,
            backdrop=i * 5 + i // 8 + first,
            outfit=("dress" if look.outfit == "sailor" else "sailor") if i % 6 == 4 else look.outfit,
            framing="portrait" if i % 5 == 2 and hat == "none" else "upper_body",
            tilt=((i * 7) % 13) - 6.0,
            shift=((i * 5) % 9 - 4) / 5,
            seed=i * 5 + first,
        )
        suffix = "png" if place in ("transparent", "white", "plain") else ("jpg", "png", "webp")[i % 3]
        yield name, f"{name}_{i + 1:02d}.{suffix}", spec, _SIZES[(i * 3 + i // 4 + first) % len(_SIZES)]
