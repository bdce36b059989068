"""A chibi head and shoulders, drawn from back to front in units of half a face's width, chin near y = 1."""

from __future__ import annotations

from core.demo.character import CharacterSpec
from core.demo.palette import BLUSH, CLOTHES, EYES, GOLD, HAIR, MOUTH, SKIN, WHITE, Tones
from core.demo.pen import Knot, Pen, curve, flip, mix, oval, symmetric

FACE = symmetric(((0, -0.9), (-0.74, -0.6), (-0.98, 0.0), (-0.95, 0.42), (-0.66, 0.79), (-0.22, 0.97), (0, 0.99)))
SIDES = (1, -1)

_LONG_BACK: tuple[Knot, ...] = symmetric(
    (
        (0, -1.26), (-0.7, -1.1), (-1.16, -0.6), (-1.3, 0.1), (-1.36, 0.9), (-1.48, 1.7), (-1.66, 2.5), (-1.86, 3.4, 1),
        (-1.3, 3.2), (-0.72, 3.5, 1), (0, 3.2),
    )
)  # fmt: skip
_SHORT_BACK: tuple[Knot, ...] = symmetric(
    (
        (0, -1.26), (-0.7, -1.1), (-1.16, -0.6), (-1.3, 0.0), (-1.36, 0.5), (-1.3, 0.84), (-1.12, 1.14, 1),
        (-0.92, 1.06), (-0.66, 1.24, 1), (-0.36, 1.1), (0, 1.14),
    )
)  # fmt: skip
_TAIL: tuple[Knot, ...] = (
    (1.02, -0.62, 1), (1.5, -0.62), (1.86, -0.1), (1.9, 0.7), (1.74, 1.4), (1.86, 2.1, 1), (1.5, 1.78), (1.3, 2.05, 1),
    (1.18, 1.4), (1.3, 0.7), (1.34, 0.1), (1.16, -0.3),
)  # fmt: skip

# The cap: over the top of the head and back along the tips of the fringe, right to left.
_DOME: tuple[Knot, ...] = (
    (-1.1, 0.46, 1), (-1.25, 0.02), (-1.18, -0.52), (-0.86, -1.0), (-0.44, -1.25), (0, -1.32),
    (0.44, -1.25), (0.86, -1.0), (1.18, -0.52), (1.25, 0.02), (1.1, 0.46, 1),
)  # fmt: skip
_SWEPT: tuple[Knot, ...] = (
    *_DOME, (0.98, 0.14), (0.9, -0.28, 1), (0.84, -0.04), (0.66, 0.11, 1), (0.57, -0.1), (0.54, -0.32, 1),
    (0.44, -0.08), (0.2, 0.11, 1), (0.13, -0.1), (0.12, -0.28, 1), (0.0, -0.02), (-0.26, 0.13, 1), (-0.35, -0.1),
    (-0.37, -0.34, 1), (-0.5, -0.08), (-0.72, 0.1, 1), (-0.8, -0.08), (-0.87, -0.32, 1), (-0.96, 0.12),
)  # fmt: skip
_BLUNT: tuple[Knot, ...] = (
    *_DOME, (1.0, 0.2), (0.95, -0.1, 1), (0.7, -0.04), (0.46, -0.02, 1), (0.44, -0.18, 1), (0.41, -0.01, 1),
    (0.2, 0.01), (0.04, 0.01, 1), (0.01, -0.16, 1), (-0.03, 0.01, 1), (-0.2, 0.01), (-0.42, -0.01, 1),
    (-0.45, -0.18, 1), (-0.48, -0.02, 1), (-0.7, -0.04), (-0.95, -0.1, 1), (-1.0, 0.2),
)  # fmt: skip
_LOCK_LONG: tuple[Knot, ...] = (
    (1.04, -0.4), (1.27, 0.1), (1.3, 0.6), (1.22, 1.16), (1.06, 1.72, 1), (0.96, 1.2), (0.86, 0.8), (0.9, 0.3),
    (0.84, -0.16),
)  # fmt: skip
_LOCK_SHORT: tuple[Knot, ...] = (
    (1.04, -0.4), (1.27, 0.1), (1.3, 0.5), (1.18, 0.86), (0.82, 1.1, 1), (0.9, 0.8), (0.88, 0.5), (0.92, 0.24),
    (0.84, -0.16),
)  # fmt: skip

_TORSO = symmetric(((0, 1.0), (-0.26, 1.06), (-0.42, 1.2), (-0.82, 1.36), (-1.06, 1.78), (-1.2, 2.6), (-1.34, 4.6, 1)))


def back_hair(pen: Pen, spec: CharacterSpec) -> None:
    """The hair behind the face and the shoulders."""
    hair = HAIR[spec.hair]
    if spec.twintails:
        for side in SIDES:
            tail = curve(flip(_TAIL, side))
            pen.wash(tail, (hair.base, hair.base, hair.shade))
            pen.line(tail, hair.line, 0.035, closed=True)
            for strand in (
                ((1.2, -0.5), (1.56, 0.0), (1.6, 0.8), (1.5, 1.6)),
                ((1.16, -0.45), (1.4, 0.2), (1.44, 0.9)),
            ):
                pen.taper(curve(flip(strand, side), closed=False), hair.shade, 0.05)
            shine = curve(flip(((1.46, -0.36), (1.68, 0.02), (1.74, 0.5)), side), closed=False)
            pen.taper(shine, hair.light, 0.1)
    back = curve(_LONG_BACK if spec.long_hair and not spec.twintails else _SHORT_BACK)
    pen.wash(back, (hair.shade, hair.shade, mix(hair.shade, hair.base, 0.75)))
    pen.line(back, hair.line, 0.035, closed=True)
    if spec.long_hair and not spec.twintails:
        for side in SIDES:
            for strand in (
                ((-1.14, 0.6), (-1.22, 1.5), (-1.42, 2.7)),
                ((-1.06, 1.2), (-1.1, 1.9), (-1.22, 3.0)),
                ((-1.28, 0.9), (-1.38, 1.6), (-1.56, 2.4)),
            ):
                pen.taper(curve(flip(strand, side), closed=False), mix(hair.shade, hair.line, 0.35), 0.04)


def body(pen: Pen, spec: CharacterSpec) -> None:
    """Neck, shoulders and clothes, down to wherever the picture ends."""
    cloth = CLOTHES[spec.colour]
    torso = curve(_TORSO)
    if spec.outfit == "hoodie":
        hood = curve(symmetric(((0, 0.7), (-0.6, 0.84), (-0.98, 1.2), (-0.7, 1.56), (0, 1.7))))
        pen.shape(hood, cloth.shade, cloth.line)
    main = WHITE if spec.outfit == "sailor" else cloth
    with pen.inside(torso) as inner:
        inner.wash(((-1.6, 1.0), (1.6, 1.0), (1.6, 3.4), (-1.6, 3.4)), (main.base, main.base, main.shade))
        inner.fill(((-1.6, 3.39), (1.6, 3.39), (1.6, 4.7), (-1.6, 4.7)), main.shade)
        for side in SIDES:
            under_arm = curve(flip(((0.66, 1.86, 1), (0.8, 2.4), (0.76, 4.6, 1), (0.96, 4.6, 1), (0.92, 2.6)), side))
            inner.fill(under_arm, main.shade)
        inner.fill(curve(((-0.9, 0.9), (0.9, 0.9), (0.66, 1.32), (0, 1.46), (-0.66, 1.32))), main.shade)
    pen.line(torso, main.line, 0.035, closed=True)
    for side in SIDES:
        pen.taper(curve(flip(((0.66, 1.84), (0.74, 2.3), (0.72, 4.4)), side), closed=False), main.line, 0.04, (0.4, 1))
    _COLLARS[spec.outfit](pen, cloth)


def _neck(pen: Pen, low: float = 1.42) -> None:
    neck = curve(
        ((-0.24, 0.8, 1), (-0.23, 1.1), (-0.36, 1.22, 1), (0, low, 1), (0.36, 1.22, 1), (0.23, 1.1), (0.24, 0.8, 1))
    )
    pen.shape(neck, SKIN.base, SKIN.line, 0.028)
    with pen.inside(neck) as inner:
        inner.fill(oval(0, 0.92, 0.5, 0.24), SKIN.shade)


def _sailor(pen: Pen, cloth: Tones) -> None:
    _neck(pen, 1.6)
    for side in SIDES:
        collar = curve(
            flip(
                ((0.22, 1.06, 1), (0.5, 1.16), (0.8, 1.36), (0.84, 1.62, 1), (0.5, 1.74), (0.0, 1.84, 1), (0.2, 1.46)),
                side,
            )
        )
        pen.shape(collar, cloth.base, cloth.line)
        stripe = curve(flip(((0.72, 1.4), (0.74, 1.55, 1), (0.46, 1.65), (0.14, 1.69)), side), closed=False)
        pen.line(stripe, WHITE.base, 0.04)
    red = CLOTHES[1] if cloth is not CLOTHES[1] else CLOTHES[3]
    for side in SIDES:
        tail = curve(flip(((0, 1.8, 1), (0.2, 2.02), (0.34, 2.42, 1), (0.16, 2.36), (0.05, 2.2, 1)), side))
        pen.shape(tail, red.shade, red.line, 0.03)
        wing = curve(flip(((0, 1.8, 1), (0.2, 1.62), (0.46, 1.6), (0.48, 1.86), (0.38, 2.0), (0.16, 1.9)), side))
        pen.shape(wing, red.base, red.line, 0.03)
    pen.shape(oval(0, 1.81, 0.11, 0.12), red.light, red.line, 0.03)


def _hoodie(pen: Pen, cloth: Tones) -> None:
    _neck(pen, 1.5)
    for side in SIDES:
        fold = curve(
            flip(
                ((0.34, 1.02, 1), (0.7, 1.0), (0.96, 1.24), (0.7, 1.58), (0.0, 1.78, 1), (0.0, 1.5, 1), (0.24, 1.34)),
                side,
            )
        )
        pen.shape(fold, cloth.light, cloth.line)
        cord = curve(flip(((0.26, 1.62), (0.3, 1.9), (0.26, 2.14)), side), closed=False)
        pen.line(cord, WHITE.line, 0.075)
        pen.line(cord, WHITE.base, 0.045)
        pen.shape(oval(0.26 * side, 2.18, 0.05, 0.07), WHITE.base, WHITE.line, 0.02)


def _dress(pen: Pen, cloth: Tones) -> None:
    _neck(pen, 1.5)
    frill: list[Knot] = []
    for i in range(9):
        t = i / 8 * 2 - 1
        y = 1.78 - 0.42 * t * t
        frill.append((t * 0.86, y + 0.06, 1))
        if i < 8:
            t += 0.125
            frill.append((t * 0.86, 1.92 - 0.42 * t * t))
    top: tuple[Knot, ...] = ((0.5, 1.12, 1), (0.24, 1.3), (0, 1.44), (-0.24, 1.3), (-0.5, 1.12, 1))
    pen.shape(curve((*frill, *top)), WHITE.base, WHITE.line)
    pen.line(curve(((-0.6, 1.42), (-0.3, 1.62), (0, 1.68), (0.3, 1.62), (0.6, 1.42)), closed=False), cloth.light, 0.05)
    band = curve(((-0.27, 1.06, 1), (0, 1.16), (0.27, 1.06, 1), (0.28, 1.17, 1), (0, 1.27), (-0.28, 1.17, 1)))
    pen.shape(band, cloth.shade, cloth.line, 0.02)
    pen.shape(oval(0, 1.26, 0.075, 0.085), GOLD.base, GOLD.line, 0.02)


_COLLARS = {"sailor": _sailor, "hoodie": _hoodie, "dress": _dress}


def face(pen: Pen, spec: CharacterSpec) -> None:
    """Skin, cheeks, nose and mouth, with the shadow of the fringe."""
    outline = curve(FACE)
    pen.fill(outline, SKIN.base)
    with pen.inside(outline) as inner:
        fringe = curve(_BLUNT if spec.blunt_bangs else _SWEPT)
        inner.fill([(x, y + 0.1) for x, y in fringe], SKIN.shade)
        for side in SIDES:
            inner.fill(curve(flip(((0.84, -0.3), (1.0, -0.3), (1.0, 1.0), (0.66, 0.9), (0.86, 0.5)), side)), SKIN.shade)
    pen.line(outline, SKIN.line, 0.03, closed=True)
    for side in SIDES:
        if spec.blush:
            pen.glow((0.6 * side, 0.58), (0.34, 0.23), BLUSH, 0.95)
            for i in range(3):
                x = (0.5 + 0.1 * i) * side
                pen.taper(((x + 0.03, 0.54), (x, 0.59), (x - 0.03, 0.64)), (238, 84, 104), 0.03, (0.5, 0.5))
    pen.taper(((-0.02, 0.49), (0.012, 0.51), (0.02, 0.54)), SKIN.shade, 0.035, (0.5, 0.5))
    _mouth(pen, spec.expression)


def _mouth(pen: Pen, expression: str) -> None:
    y = 0.7
    if expression == "smile":
        arc: tuple[Knot, ...] = (
            (-0.27, y - 0.09),
            (-0.15, y + 0.03),
            (0, y + 0.07),
            (0.15, y + 0.03),
            (0.27, y - 0.09),
        )
        pen.taper(curve(arc, closed=False), MOUTH.line, 0.07, (0.45, 0.45))
        for side in SIDES:
            pen.taper(
                flip(((0.25, -0.11 + y), (0.28, -0.085 + y), (0.31, -0.08 + y)), side), MOUTH.line, 0.04, (0.6, 0.6)
            )
    elif expression == "frown":
        arc = ((-0.22, y + 0.12), (-0.12, y + 0.02), (0, y - 0.01), (0.12, y + 0.02), (0.22, y + 0.12))
        pen.taper(curve(arc, closed=False), MOUTH.line, 0.07, (0.45, 0.45))
    elif expression == "calm":
        pen.taper(((-0.1, y), (-0.05, y + 0.005), (0.05, y + 0.005), (0.1, y)), MOUTH.line, 0.055, (0.5, 0.5))
    else:
        if expression == "happy":
            lips = curve(
                (
                    (-0.27, y - 0.09, 1),
                    (0, y - 0.06),
                    (0.27, y - 0.09, 1),
                    (0.2, y + 0.12),
                    (0, y + 0.2),
                    (-0.2, y + 0.12),
                )
            )
        else:
            lips = oval(0, y + 0.03, 0.11, 0.14)
        pen.fill(lips, MOUTH.base)
        with pen.inside(lips) as inner:
            inner.fill(oval(0, y + 0.2, 0.17, 0.13), MOUTH.light)
            if expression == "happy":
                inner.fill(((-0.2, y - 0.11), (0.2, y - 0.11), (0.16, y - 0.02), (-0.16, y - 0.02)), WHITE.base)
        pen.line(lips, MOUTH.line, 0.035, closed=True)


def eyes(pen: Pen, spec: CharacterSpec) -> None:
    """Both eyes; the right one of the picture winks."""
    hair, iris = HAIR[spec.hair], EYES[spec.eyes]
    lash = mix(hair.line, (40, 20, 40), 0.5)
    for side in SIDES:
        closed = spec.eye_state == "closed" or (spec.eye_state == "wink" and side == 1)
        if closed:
            _closed_eye(pen, side, lash)
        else:
            _open_eye(pen, side, iris, lash, wide=spec.expression == "surprised")


def _closed_eye(pen: Pen, side: int, lash: tuple[int, int, int]) -> None:
    arc: tuple[Knot, ...] = ((0.2, 0.38), (0.28, 0.27), (0.44, 0.22), (0.6, 0.26), (0.7, 0.38))
    pen.taper(curve(flip(arc, side), closed=False), lash, 0.085, (0.4, 0.6))
    pen.taper(curve(flip(((0.62, 0.28), (0.7, 0.28), (0.78, 0.24)), side), closed=False), lash, 0.05, (0.8, 0.1))


def _open_eye(pen: Pen, side: int, iris: Tones, lash: tuple[int, int, int], wide: bool) -> None:
    x, y = 0.45 * side, 0.3
    white = curve(
        flip(
            (
                (0.2, 0.2),
                (0.3, 0.0),
                (0.5, -0.03),
                (0.66, 0.06),
                (0.72, 0.3),
                (0.64, 0.54),
                (0.46, 0.6),
                (0.28, 0.54),
                (0.2, 0.38),
            ),
            side,
        )
    )
    rx, ry = (0.175, 0.235) if wide else (0.215, 0.285)
    with pen.inside(white) as inner:
        inner.fill(white, (255, 253, 252))
        inner.fill(oval(x, y, rx, ry), iris.line)
        inner.wash(oval(x, y, rx - 0.025, ry - 0.025), (iris.shade, iris.shade, iris.base, iris.base, iris.light))
        inner.fill(oval(x, y + 0.15, rx * 0.62, ry * 0.34), iris.light)
        inner.fill(oval(x, y - 0.01, rx * 0.42, ry * 0.44), iris.line)
        inner.fill(oval(0.45 * side, -0.03, 0.34, 0.1), mix(iris.line, lash, 0.6))
    # The light comes from one side: the highlights are not mirrored.
    pen.fill(oval(x - 0.08, y - 0.12, 0.075, 0.1, 15), (255, 255, 255))
    pen.fill(oval(x + 0.09, y + 0.14, 0.042, 0.05), (255, 255, 255))
    upper = curve(
        flip(((0.17, 0.2), (0.24, 0.05), (0.4, -0.04), (0.58, -0.0), (0.7, 0.12), (0.8, 0.14)), side), closed=False
    )
    pen.taper(upper, lash, 0.1, (0.3, 0.25))
    pen.taper(curve(flip(((0.66, 0.08), (0.74, 0.06), (0.84, 0.0)), side), closed=False), lash, 0.06, (0.9, 0.1))
    pen.taper(curve(flip(((0.36, 0.61), (0.48, 0.63), (0.64, 0.57)), side), closed=False), SKIN.line, 0.03)
    pen.taper(curve(flip(((0.28, -0.1), (0.44, -0.15), (0.6, -0.11)), side), closed=False), SKIN.line, 0.022)


def brows(pen: Pen, spec: CharacterSpec) -> None:
    """Eyebrows, drawn over the fringe as comics do."""
    for side in SIDES:
        _brow(pen, side, spec.expression, mix(HAIR[spec.hair].line, HAIR[spec.hair].shade, 0.25))


def _brow(pen: Pen, side: int, expression: str, colour: tuple[int, int, int]) -> None:
    inner_y, outer_y = {"frown": (-0.17, -0.29), "surprised": (-0.34, -0.3)}.get(expression, (-0.26, -0.24))
    if expression == "frown":
        knots: tuple[Knot, ...] = ((0.2, inner_y), (0.42, -0.27), (0.66, outer_y))
    else:
        knots = ((0.24, inner_y), (0.44, min(inner_y, outer_y) - 0.05), (0.66, outer_y))
    pen.taper(curve(flip(knots, side), closed=False), colour, 0.042, (0.6, 0.1))


def front_hair(pen: Pen, spec: CharacterSpec) -> None:
    """Side locks, fringe and the ring of light."""
    hair = HAIR[spec.hair]
    for side in SIDES:
        lock = curve(flip(_LOCK_LONG if spec.long_hair else _LOCK_SHORT, side))
        pen.wash(lock, (hair.base, hair.base, mix(hair.base, hair.shade, 0.7)))
        pen.line(lock, hair.line, 0.032, closed=True)
        pen.taper(curve(flip(((1.04, 0.1), (1.06, 0.5), (1.02, 0.94)), side), closed=False), hair.shade, 0.05)
    cap = curve(_BLUNT if spec.blunt_bangs else _SWEPT)
    pen.wash(cap, (mix(hair.base, hair.light, 0.35), hair.base, hair.base, mix(hair.base, hair.shade, 0.45)))
    with pen.inside(cap) as inner:
        for side in SIDES:
            inner.fill(curve(flip(((1.4, -1.2), (1.4, 0.6), (1.06, 0.4), (1.1, -0.4), (0.86, -0.9)), side)), hair.shade)
        ring: list[Knot] = []
        count = 15
        for i in range(count):
            t = i / (count - 1) * 2 - 1
            ring.append((t * 0.9, -0.88 + 0.36 * t * t - (0.05 if i % 2 else 0.0), 1))
        for i in range(count):
            t = 1 - i / (count - 1) * 2
            deep = 0.16 * (1 - t * t) + 0.02
            ring.append((t * 0.9, -0.88 + 0.36 * t * t + deep + (0.08 if i % 2 else 0.0), 1))
        inner.fill(ring, hair.light)
        strands = (
            ((0.1, -1.3), (0.3, -0.9), (0.36, -0.3)),
            ((-0.06, -1.3), (-0.14, -0.8), (-0.12, -0.24)),
            ((-0.2, -1.3), (-0.5, -0.9), (-0.62, -0.3)),
        )
        for strand in strands:
            inner.taper(curve(strand, closed=False), mix(hair.base, hair.shade, 0.8), 0.035)
    pen.line(cap, hair.line, 0.036, closed=True)
