"""A pen for smooth coloured shapes: curves through points, gradients, tapered strokes and clipping, on Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]
Knot = tuple[float, ...]
"""x, y, and optionally 1.0 where the curve has a corner."""


@lru_cache(maxsize=512)
def curve(knots: tuple[Knot, ...], closed: bool = True, steps: int = 8) -> tuple[Point, ...]:
    """Catmull-Rom through the knots; a knot with a third member is a corner."""
    count = len(knots)
    out: list[Point] = []
    for i in range(count if closed else count - 1):
        p1, p2 = knots[i], knots[(i + 1) % count]
        p0 = p1 if len(p1) > 2 or (not closed and i == 0) else knots[i - 1]
        p3 = p2 if len(p2) > 2 or (not closed and i == count - 2) else knots[(i + 2) % count]
        for step in range(steps):
            t = step / steps
            a, b = t * t, t * t * t
            w0, w1 = (-t + 2 * a - b) / 2, (2 - 5 * a + 3 * b) / 2
            w2, w3 = (t + 4 * a - 3 * b) / 2, (b - a) / 2
            out.append(
                (
                    w0 * p0[0] + w1 * p1[0] + w2 * p2[0] + w3 * p3[0],
                    w0 * p0[1] + w1 * p1[1] + w2 * p2[1] + w3 * p3[1],
                )
            )
    if not closed:
        out.append((knots[-1][0], knots[-1][1]))
    return tuple(out)


@lru_cache(maxsize=256)
def symmetric(half: tuple[Knot, ...]) -> tuple[Knot, ...]:
    """The knots of a left half, from the top to the bottom, and their mirror image back up."""
    return half + tuple((-k[0], *k[1:]) for k in reversed(half) if k[0] != 0)


def flip(points: Sequence[Knot], side: int) -> tuple[Knot, ...]:
    """The points as they are for side 1, mirrored left to right for side -1."""
    return tuple(points) if side > 0 else tuple((-p[0], *p[1:]) for p in points)


@lru_cache(maxsize=512)
def oval(cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, count: int = 36) -> tuple[Point, ...]:
    """An ellipse as a polygon; angle in degrees, clockwise on the picture."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    out = []
    for i in range(count):
        a = 2 * math.pi * i / count
        x, y = rx * math.cos(a), ry * math.sin(a)
        out.append((cx + c * x - s * y, cy + s * x + c * y))
    return tuple(out)


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """a at t = 0, b at t = 1."""
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


def ramp(size: tuple[int, int], colours: Sequence[Colour]) -> Image.Image:
    """A vertical gradient through the colours, evenly spaced."""
    strip = Image.new("RGB", (1, len(colours)))
    strip.putdata(list(colours))
    # The half pixel that a resize leaves flat at each end is cut off by `box`. Widening is a copy: ten times cheaper.
    tall = strip.resize((1, size[1]), Image.Resampling.BILINEAR, box=(0, 0.5, 1, len(colours) - 0.5))
    return tall.resize(size, Image.Resampling.NEAREST)


@lru_cache(maxsize=1)
def _spot() -> Image.Image:
    # Pillow's gradient is 180 at the middle of an edge and 255 in the corners.
    return Image.radial_gradient("L").point([round(255 * max(0.0, 1 - v / 178) ** 1.2) for v in range(256)])


def _band(path: Sequence[Point], half: float) -> list[Point]:
    """The polygon of a smooth open path, `half` to each side."""
    left: list[Point] = []
    right: list[Point] = []
    last = len(path) - 1
    for i, (x, y) in enumerate(path):
        (ax, ay), (bx, by) = path[max(0, i - 1)], path[min(last, i + 1)]
        length = math.hypot(bx - ax, by - ay) or 1.0
        dx, dy = (by - ay) / length * half, (bx - ax) / length * half
        left.append((x - dx, y + dy))
        right.append((x + dx, y - dy))
    right.reverse()
    return left + right


class Pen:
    """Draws in figure units onto an image; the matrix turns units into pixels of that image."""

    __slots__ = ("_draw", "_matrix", "image", "unit")

    def __init__(self, image: Image.Image, unit: float, x: float, y: float, angle: float = 0.0) -> None:
        c, s = unit * math.cos(math.radians(angle)), unit * math.sin(math.radians(angle))
        self.image = image
        self.unit = unit
        self._draw = ImageDraw.Draw(image)
        self._matrix = (c, -s, x, s, c, y)

    def place(self, points: Sequence[Knot]) -> list[Point]:
        """Where the points lie on the image, in pixels."""
        a, b, x, c, d, y = self._matrix
        return [(a * p[0] + b * p[1] + x, c * p[0] + d * p[1] + y) for p in points]

    def turned(self, angle: float, about: Point) -> Pen:
        """A pen on the same image, turned clockwise by the angle in degrees about a point."""
        (x, y), (ox, oy) = self.place((about,))[0], self.place(((0.0, 0.0),))[0]
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        dx, dy = ox - x, oy - y
        now = math.degrees(math.atan2(self._matrix[3], self._matrix[0]))
        return Pen(self.image, self.unit, x + c * dx - s * dy, y + s * dx + c * dy, now + angle)

    def moved(self, dx: float, dy: float) -> Pen:
        """A pen on the same image with its origin moved by that many units."""
        a, b, _, c, d, _ = self._matrix
        x, y = self.place(((dx, dy),))[0]
        pen = Pen.__new__(Pen)
        pen.image, pen.unit, pen._draw, pen._matrix = self.image, self.unit, self._draw, (a, b, x, c, d, y)
        return pen

    def fill(self, points: Sequence[Knot], colour: Colour) -> None:
        """A flat polygon."""
        self._draw.polygon(self.place(points), fill=colour)

    def line(self, points: Sequence[Knot], colour: Colour, width: float, closed: bool = False) -> None:
        """A stroke of even width, in units."""
        placed = self.place(points)
        thick = max(1, round(width * self.unit))
        if closed:
            placed += placed[:1]
        # Pillow draws a wide line as whole-pixel boxes that do not quite meet: a band per smooth run is even, and
        # faster than its round joints. Only a corner needs a disc.
        half = thick / 2
        run = placed[:1]
        for (ax, ay), (bx, by), (cx, cy) in zip(placed, placed[1:], placed[2:], strict=False):
            run.append((bx, by))
            ux, uy, vx, vy = bx - ax, by - ay, cx - bx, cy - by
            if abs(ux * vy - uy * vx) > 0.3 * (ux * vx + uy * vy):
                self._draw.ellipse((bx - half, by - half, bx + half, by + half), fill=colour)
                self._draw.polygon(_band(run, half), fill=colour)
                run = [(bx, by)]
        self._draw.polygon(_band([*run, placed[-1]], half), fill=colour)
        if closed:
            x, y = placed[0]
            self._draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)

    def shape(self, points: Sequence[Knot], colour: Colour, edge: Colour, width: float = 0.035) -> None:
        """A flat polygon with an outline."""
        self.fill(points, colour)
        self.line(points, edge, width, closed=True)

    def taper(self, points: Sequence[Knot], colour: Colour, width: float, ends: tuple[float, float] = (0, 0)) -> None:
        """A brush stroke: full width in its middle, `ends` times as wide at its ends."""
        count = len(points) - 1
        left: list[Point] = []
        right: list[Point] = []
        for i, p in enumerate(points):
            before, after = points[max(0, i - 1)], points[min(count, i + 1)]
            dx, dy = after[0] - before[0], after[1] - before[1]
            length = math.hypot(dx, dy) or 1.0
            t = i / count
            end = ends[0] if t < 0.5 else ends[1]
            half = width / 2 * (end + (1 - end) * math.sin(math.pi * t) ** 0.7)
            left.append((p[0] - dy / length * half, p[1] + dx / length * half))
            right.append((p[0] + dy / length * half, p[1] - dx / length * half))
        self.fill([*left, *reversed(right)], colour)

    def glow(self, centre: Point, radius: Point, colour: Colour, strength: float) -> None:
        """A soft round spot that fades to nothing; strength 0..1 is its opacity in the middle."""
        (x, y) = self.place((centre,))[0]
        w, h = max(1, round(2 * radius[0] * self.unit)), max(1, round(2 * radius[1] * self.unit))
        mask = _spot().point([round(v * strength) for v in range(256)]).resize((w, h), Image.Resampling.BILINEAR)
        left, top = round(x - w / 2), round(y - h / 2)
        if self.image.mode == "RGBA":  # a glow on nothing would leave a half transparent smudge with the wrong colour
            alpha = self.image.getchannel("A")
            self.image.paste(colour, (left, top), mask)
            self.image.putalpha(alpha)
            self._draw = ImageDraw.Draw(self.image)
        else:
            self.image.paste(colour, (left, top), mask)

    @contextmanager
    def inside(self, points: Sequence[Knot]) -> Iterator[Pen]:
        """A pen whose marks stay within the polygon."""
        placed = self.place(points)
        left, top = math.floor(min(p[0] for p in placed)), math.floor(min(p[1] for p in placed))
        right, bottom = math.ceil(max(p[0] for p in placed)) + 1, math.ceil(max(p[1] for p in placed)) + 1
        left, top = max(left, 0), max(top, 0)
        right, bottom = min(right, self.image.width), min(bottom, self.image.height)
        if right <= left or bottom <= top:
            yield self
            return
        part = self.image.crop((left, top, right, bottom))
        mask = Image.new("1", part.size)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in placed], fill=1)
        inner = Pen.__new__(Pen)
        inner.image, inner.unit, inner._draw = part, self.unit, ImageDraw.Draw(part)
        a, b, x, c, d, y = self._matrix
        inner._matrix = (a, b, x - left, c, d, y - top)
        yield inner
        self.image.paste(inner.image, (left, top), mask)

    def wash(self, points: Sequence[Knot], colours: Sequence[Colour]) -> None:
        """A polygon filled with a vertical gradient."""
        placed = self.place(points)
        left, top = math.floor(min(p[0] for p in placed)), math.floor(min(p[1] for p in placed))
        right, bottom = math.ceil(max(p[0] for p in placed)) + 1, math.ceil(max(p[1] for p in placed)) + 1
        mask = Image.new("1", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in placed], fill=1)
        paint = ramp(mask.size, colours)
        self.image.paste(paint.convert("RGBA") if self.image.mode == "RGBA" else paint, (left, top), mask)
