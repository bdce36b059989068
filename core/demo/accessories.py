"""What a drawn character wears or grows on the head."""

from __future__ import annotations

from core.demo.character import CharacterSpec
from core.demo.palette import CLOTHES, GOLD, HAIR, SKIN, WHITE, Tones
from core.demo.pen import Colour, Knot, Pen, curve, flip, mix, oval

SIDES = (1, -1)
_PINK: Colour = (255, 190, 200)
_HORN = Tones((120, 92, 128), (84, 60, 96), (190, 160, 190), (50, 30, 62))
_WITCH = Tones((84, 66, 132), (58, 42, 98), (130, 108, 184), (30, 18, 58))

_CAT: tuple[Knot, ...] = ((0.36, -1.2), (0.62, -1.68), (0.9, -1.98, 1), (1.08, -1.5), (1.12, -0.8))
_CAT_IN: tuple[Knot, ...] = ((0.54, -1.2), (0.7, -1.56), (0.88, -1.8, 1), (0.98, -1.44), (1.0, -0.94))
_FOX: tuple[Knot, ...] = ((0.2, -1.26), (0.52, -1.86), (0.98, -2.34, 1), (1.28, -1.7), (1.2, -0.72))
_FOX_TIP: tuple[Knot, ...] = (
    (0.5, -1.84, 1),
    (0.98, -2.4, 1),
    (1.3, -1.84, 1),
    (1.1, -1.78),
    (0.94, -1.92, 1),
    (0.76, -1.76),
)
_FOX_IN: tuple[Knot, ...] = ((0.46, -1.24), (0.66, -1.72), (0.94, -2.06, 1), (1.1, -1.6), (1.06, -0.9))
_RABBIT: tuple[Knot, ...] = (
    (0.3, -1.2),
    (0.26, -1.8),
    (0.42, -2.36),
    (0.68, -2.54),
    (0.88, -2.34),
    (0.9, -1.8),
    (0.74, -1.1),
)
_RABBIT_IN: tuple[Knot, ...] = (
    (0.44, -1.3),
    (0.42, -1.8),
    (0.54, -2.2),
    (0.68, -2.34),
    (0.76, -2.18),
    (0.76, -1.8),
    (0.66, -1.3),
)


def ears(pen: Pen, spec: CharacterSpec) -> None:
    """Animal ears and horns; their roots are covered by the hair that is drawn later."""
    hair = HAIR[spec.hair]
    for side in SIDES:
        if spec.horns:
            horn = curve(
                flip(
                    (
                        (0.5, -1.1),
                        (0.62, -1.6),
                        (0.92, -1.86),
                        (1.16, -2.06, 1),
                        (1.14, -1.6),
                        (0.98, -1.24),
                        (0.94, -0.9),
                    ),
                    side,
                )
            )
            pen.shape(horn, _HORN.base, _HORN.line)
            with pen.inside(horn) as inner:
                for y in (-1.24, -1.5, -1.74):
                    band = curve(flip(((0.4, y + 0.02), (0.8, y + 0.1), (1.2, y - 0.12)), side), closed=False)
                    inner.line(band, _HORN.shade, 0.07)
                inner.taper(
                    curve(flip(((0.64, -1.2), (0.76, -1.6), (1.06, -1.94)), side), closed=False), _HORN.light, 0.07
                )
        if spec.ears == "cat":
            pen.shape(curve(flip(_CAT, side)), hair.base, hair.line, 0.04)
            pen.wash(curve(flip(_CAT_IN, side)), (_PINK, _PINK, mix(_PINK, SKIN.shade, 0.9)))
        elif spec.ears == "fox":
            fox = curve(flip(_FOX, side))
            pen.fill(fox, hair.base)
            with pen.inside(fox) as inner:
                inner.fill(curve(flip(_FOX_TIP, side)), mix(hair.line, hair.shade, 0.25))
            pen.line(fox, hair.line, 0.04, closed=True)
            pen.wash(curve(flip(_FOX_IN, side)), (WHITE.base, WHITE.shade))
        elif spec.ears == "rabbit":
            fur = WHITE if spec.hair != "black_hair" else hair
            # One ear leans outwards more than the other: two equal ones look stamped.
            ear = pen.turned(14 if side > 0 else -4, (0.6 * side, -1.1))
            ear.wash(curve(flip(_RABBIT, side)), (fur.light, fur.base, fur.shade))
            ear.line(curve(flip(_RABBIT, side)), fur.line, 0.04, closed=True)
            ear.wash(curve(flip(_RABBIT_IN, side)), (_PINK, mix(_PINK, (255, 140, 165), 0.6)))


def halo(pen: Pen) -> None:
    """A golden ring over the head."""
    pen.glow((0, -1.86), (1.1, 0.44), (255, 240, 170), 0.7)
    pen.line(oval(0, -1.86, 0.74, 0.2), GOLD.line, 0.17, closed=True)
    pen.line(oval(0, -1.86, 0.74, 0.2), GOLD.base, 0.11, closed=True)
    pen.line(oval(0, -1.87, 0.74, 0.2), GOLD.light, 0.04, closed=True)


def ahoge(pen: Pen, spec: CharacterSpec) -> None:
    """One stubborn strand."""
    hair = HAIR[spec.hair]
    strand = curve(
        (
            (-0.1, -1.36, 1),
            (-0.16, -1.74),
            (0.12, -1.98),
            (0.48, -1.82, 1),
            (0.2, -1.78),
            (0.06, -1.6),
            (0.14, -1.36, 1),
        )
    )
    pen.shape(strand, hair.base, hair.line)
    pen.taper(curve(((-0.04, -1.5), (-0.02, -1.74), (0.2, -1.88)), closed=False), hair.light, 0.06)


def glasses(pen: Pen) -> None:
    """Round glasses with a reflection."""
    frame: Colour = (112, 52, 64)
    for side in SIDES:
        rim = oval(0.45 * side, 0.3, 0.37, 0.36)
        pen.line(rim, frame, 0.062, closed=True)
        pen.taper(((0.82 * side, 0.26), (0.92 * side, 0.22), (1.0 * side, 0.2)), frame, 0.06, (1, 1))
        pen.taper(
            ((0.45 * side + 0.16, 0.04), (0.45 * side + 0.24, 0.12), (0.45 * side + 0.28, 0.24)), (255, 255, 255), 0.045
        )
    pen.taper(curve(((-0.1, 0.28), (0, 0.23), (0.1, 0.28)), closed=False), frame, 0.06, (1, 1))


def ornament(pen: Pen, spec: CharacterSpec) -> None:
    """A bow or a flower in the hair, on the right of the picture."""
    where = (0.78, -0.86) if spec.hat == "none" else (0.98, -0.36)
    if spec.ornament == "bow":
        ribbon = CLOTHES[1] if spec.hair not in ("pink_hair", "red_hair") else CLOTHES[0]
        bow = pen.turned(24, where)
        x, y = where
        for side in SIDES:
            for tail in (((0, 0, 1), (0.16, 0.26), (0.3, 0.5, 1), (0.12, 0.46), (0.0, 0.2)),):
                bow.shape(
                    curve(tuple((x + k[0] * side, y + k[1], *k[2:]) for k in tail)), ribbon.shade, ribbon.line, 0.03
                )
            wing: tuple[Knot, ...] = ((0, 0, 1), (0.2, -0.26), (0.5, -0.32), (0.56, 0.0), (0.5, 0.24), (0.22, 0.18))
            bow.shape(curve(tuple((x + k[0] * side, y + k[1], *k[2:]) for k in wing)), ribbon.base, ribbon.line, 0.035)
            fold: tuple[Knot, ...] = ((0.08, -0.02), (0.24, -0.06), (0.38, -0.1))
            bow.taper(curve(tuple((x + k[0] * side, y + k[1]) for k in fold), closed=False), ribbon.shade, 0.06)
        bow.shape(oval(x, y, 0.12, 0.14), ribbon.light, ribbon.line, 0.03)
    elif spec.ornament == "flower":
        petal: Colour = (255, 250, 252) if spec.hair not in ("white_hair", "blonde_hair") else (255, 150, 170)
        edge: Colour = (206, 96, 130)
        flower = pen.turned(10, where)
        x, y = where
        for angle in range(0, 360, 72):
            leaf = flower.turned(angle, where)
            leaf.shape(oval(x, y - 0.25, 0.2, 0.24), petal, edge, 0.028)
        pen.shape(oval(x, y, 0.15, 0.15), GOLD.base, GOLD.line, 0.025)


def hat(pen: Pen, spec: CharacterSpec) -> None:
    """A beret or a witch's hat."""
    if spec.hat == "beret":
        cloth = CLOTHES[(spec.colour + 1) % len(CLOTHES)]
        cap = pen.turned(-9, (0, -1.0)).moved(0.04, 0.1)
        felt = curve(
            (
                (-1.06, -0.86),
                (-1.42, -1.14),
                (-1.2, -1.62),
                (-0.4, -1.86),
                (0.44, -1.72),
                (1.06, -1.3),
                (1.06, -0.9),
                (0, -0.9),
            )
        )
        stalk = curve(((-0.34, -1.78), (-0.3, -1.94), (-0.2, -2.04)), closed=False)
        cap.taper(stalk, cloth.line, 0.16, (1, 1))
        cap.wash(felt, (cloth.light, cloth.base, cloth.base, cloth.shade))
        cap.line(felt, cloth.line, 0.04, closed=True)
        cap.taper(curve(((-1.14, -1.4), (-0.76, -1.62), (-0.3, -1.7)), closed=False), cloth.light, 0.1)
        band = curve(
            ((-1.1, -0.88), (-0.56, -1.0), (0, -1.03), (0.56, -1.0), (1.1, -0.88), (1.08, -0.72), (0.54, -0.83),
             (0, -0.86), (-0.54, -0.83), (-1.08, -0.72))
        )  # fmt: skip
        cap.shape(band, cloth.shade, cloth.line, 0.035)
    elif spec.hat == "witch":
        pen = pen.moved(0, 0.1)
        cone = curve(
            (
                (-0.98, -0.94, 1),
                (-0.72, -1.5),
                (-0.36, -2.1),
                (0.1, -2.6),
                (0.62, -2.74, 1),
                (0.46, -2.44),
                (0.6, -2.0),
                (0.82, -1.4),
                (0.98, -0.94, 1),
            )
        )
        brim = curve(
            (
                (-1.9, -0.72, 1),
                (-1.1, -1.02),
                (0, -1.12),
                (1.1, -1.02),
                (1.9, -0.72, 1),
                (1.2, -0.58),
                (0, -0.68),
                (-1.2, -0.58),
            )
        )
        pen.wash(cone, (_WITCH.light, _WITCH.base, _WITCH.shade))
        with pen.inside(cone) as inner:
            inner.taper(curve(((-0.1, -2.3), (0.24, -2.2), (0.56, -2.22)), closed=False), _WITCH.line, 0.05)
            sash = curve(((-1.1, -1.22), (0, -1.4), (1.1, -1.22), (1.1, -0.9), (0, -1.06), (-1.1, -0.9)))
            inner.fill(sash, CLOTHES[1].base if spec.colour != 3 else CLOTHES[3].base)
        pen.line(cone, _WITCH.line, 0.04, closed=True)
        pen.wash(brim, (_WITCH.base, _WITCH.base, _WITCH.shade))
        pen.line(brim, _WITCH.line, 0.04, closed=True)
        pen.shape(((-0.17, -1.36), (0.17, -1.36), (0.17, -1.08), (-0.17, -1.08)), GOLD.base, GOLD.line, 0.035)
        pen.line(((-0.09, -1.29), (0.09, -1.29), (0.09, -1.15), (-0.09, -1.15)), GOLD.line, 0.03, closed=True)
