"""The backgrounds, each one drawn to the size of the picture."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from core.demo.character import CharacterSpec
from core.demo.palette import GRADIENTS, PASTELS
from core.demo.pen import Colour, Pen, Point, curve, mix, oval, ramp


def paint(spec: CharacterSpec, size: tuple[int, int]) -> Image.Image:
    """An RGB image of that size; RGBA with nothing on it when the spec is for a transparent picture."""
    if spec.background == "transparent":
        # The colour under full transparency shows in the soft edge of the outline: keep it dark, not white or black.
        return Image.new("RGBA", size, (96, 60, 88, 0))
    if spec.background == "white":
        return Image.new("RGB", size, (255, 255, 255))
    if spec.background == "plain":
        return Image.new("RGB", size, PASTELS[spec.backdrop % len(PASTELS)])
    if spec.background == "gradient":
        colours = GRADIENTS[spec.backdrop % len(GRADIENTS)]
        return ramp(size, colours if spec.backdrop % 2 else colours[::-1])
    return _SCENES[spec.background](spec, size, random.Random(spec.seed))


def _dots(spec: CharacterSpec, size: tuple[int, int], r: random.Random) -> Image.Image:
    ground = PASTELS[spec.backdrop % len(PASTELS)]
    image = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(image)
    step = min(size) / 6
    colour = mix(ground, (255, 255, 255), 0.75)
    offset = r.random() * step
    for row in range(-1, math.ceil(size[1] / step * 2) + 1):
        for column in range(-1, math.ceil(size[0] / step) + 2):
            x, y = (column + (row % 2) / 2) * step + offset - step, row * step / 2
            draw.ellipse((x - step * 0.2, y - step * 0.2, x + step * 0.2, y + step * 0.2), fill=colour)
    return image


def _cloud(pen: Pen, x: float, y: float, scale: float, colour: Colour) -> None:
    for dx, dy, radius in ((-0.34, 0, 0.2), (-0.1, -0.12, 0.28), (0.2, -0.06, 0.24), (0.42, 0.02, 0.16)):
        pen.fill(oval(x + dx * scale, y + dy * scale, radius * scale, radius * scale * 0.9), colour)
    pen.fill(oval(x, y + 0.1 * scale, 0.56 * scale, 0.12 * scale), colour)


def _meadow(spec: CharacterSpec, size: tuple[int, int], r: random.Random) -> Image.Image:
    w, h = size
    skies: tuple[tuple[Colour, ...], ...] = (((92, 178, 250), (206, 240, 255)), ((118, 196, 255), (255, 240, 226)))
    image = ramp(size, skies[spec.backdrop % 2])
    pen = Pen(image, h, 0, 0)
    wide = w / h
    for i in range(4):
        x = wide * (i + r.uniform(0.1, 0.9)) / 4
        y, scale = r.uniform(0.08, 0.42), r.uniform(0.22, 0.4)
        _cloud(pen, x, y + 0.02, scale, (222, 238, 252))
        _cloud(pen, x, y, scale, (255, 255, 255))
    a, b = r.uniform(0.58, 0.64), r.uniform(0.6, 0.68)
    far = curve(((0, a), (wide * 0.3, a - 0.05), (wide * 0.7, b), (wide, b - 0.06)), closed=False)
    pen.fill([*far, (wide, 1), (0, 1)], (142, 214, 138))
    near = curve(((0, b + 0.12), (wide * 0.4, a + 0.17), (wide * 0.8, a + 0.1), (wide, b + 0.12)), closed=False)
    pen.fill([*near, (wide, 1), (0, 1)], (104, 190, 108))
    for _ in range(int(46 * wide)):
        x, y = r.uniform(0, wide), r.uniform(0.78, 1.0)
        lean, tall = r.uniform(-0.02, 0.02), r.uniform(0.03, 0.07)
        pen.fill(((x - 0.008, y), (x + lean, y - tall), (x + 0.008, y)), (76, 160, 92))
    for _ in range(int(14 * wide)):
        x, y = r.uniform(0, wide), r.uniform(0.74, 0.98)
        for angle in range(0, 360, 72):
            dx, dy = math.cos(math.radians(angle)) * 0.011, math.sin(math.radians(angle)) * 0.011
            pen.fill(oval(x + dx, y + dy, 0.009, 0.009, count=10), (255, 250, 240))
        pen.fill(oval(x, y, 0.007, 0.007, count=10), (255, 206, 84))
    return image


def _star(x: float, y: float, size: float) -> tuple[Point, ...]:
    """Four points, straight up and sideways."""
    reach = [size if k % 2 == 0 else size * 0.24 for k in range(8)]
    return tuple((x + math.sin(k * math.pi / 4) * r, y + math.cos(k * math.pi / 4) * r) for k, r in enumerate(reach))


def _night(spec: CharacterSpec, size: tuple[int, int], r: random.Random) -> Image.Image:
    w, h = size
    skies: tuple[tuple[Colour, ...], ...] = (
        ((24, 26, 72), (56, 58, 132), (134, 104, 176)),
        ((16, 24, 62), (34, 66, 126), (86, 140, 178)),
    )
    image = ramp(size, skies[spec.backdrop % 2])
    pen = Pen(image, h, 0, 0)
    wide = w / h
    for _ in range(int(70 * wide)):
        x, y, s = r.uniform(0, wide), r.uniform(0, 0.86), r.uniform(0.0025, 0.005)
        pen.fill(oval(x, y, s, s, count=8), (226, 226, 255))
    for _ in range(int(11 * wide) + 3):
        x, y, s = r.uniform(0, wide), r.uniform(0.02, 0.7), r.uniform(0.016, 0.034)
        pen.glow((x, y), (s * 1.4, s * 1.4), (190, 190, 255), 0.5)
        pen.fill(_star(x, y, s), (255, 248, 206))
    mx = wide * (0.14 if spec.backdrop % 4 < 2 else 0.86)
    pen.glow((mx, 0.17), (0.15, 0.15), (255, 240, 190), 0.6)
    pen.fill(oval(mx, 0.17, 0.085, 0.085), (255, 244, 200))
    hill = curve(((0, 0.84), (wide * 0.3, 0.78), (wide * 0.7, 0.86), (wide, 0.8)), closed=False)
    pen.fill([*hill, (wide, 1), (0, 1)], (34, 40, 82))
    return image


def _blossom(spec: CharacterSpec, size: tuple[int, int], r: random.Random) -> Image.Image:
    w, h = size
    skies: tuple[tuple[Colour, ...], ...] = (((164, 212, 255), (255, 232, 240)), ((196, 218, 255), (255, 216, 226)))
    image = ramp(size, skies[spec.backdrop % 2])
    pen = Pen(image, h, 0, 0)
    wide = w / h
    for side in (0, 1):
        edge = wide * side
        inward = 1 if side == 0 else -1
        branch = curve(((edge, 0.22), (edge + inward * 0.14, 0.13), (edge + inward * 0.34, 0.05)), closed=False)
        pen.taper(branch, (128, 84, 88), 0.035, (1, 0.3))
        for _ in range(26):
            t = r.random()
            x, y = edge + inward * 0.36 * t + r.uniform(-0.05, 0.05), 0.21 - 0.19 * t + r.uniform(-0.07, 0.08)
            s = r.uniform(0.022, 0.036)
            colour = r.choice(((255, 176, 204), (255, 196, 216), (255, 158, 192)))
            for angle in range(0, 360, 72):
                a = math.radians(angle + 90 * t)
                pen.fill(
                    oval(x + math.cos(a) * s * 0.62, y + math.sin(a) * s * 0.62, s * 0.55, s * 0.55, count=12), colour
                )
            pen.fill(oval(x, y, s * 0.26, s * 0.26, count=8), (228, 84, 130))
    for _ in range(int(34 * wide)):
        x, y, s = r.uniform(0, wide), r.uniform(0.1, 1.0), r.uniform(0.012, 0.026)
        pen.fill(oval(x, y, s, s * 0.55, r.uniform(0, 180), count=14), r.choice(((255, 168, 198), (255, 190, 212))))
    return image


_SCENES: dict[str, Callable[[CharacterSpec, tuple[int, int], random.Random], Image.Image]] = {
    "dots": _dots,
    "meadow": _meadow,
    "night": _night,
    "blossom": _blossom,
}
