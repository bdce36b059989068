"""Sends only the cells of a dirty region, and of their colours only what changes.

Textual 8.2 cuts what it sends at the right edge of the region but not at the left one: a number that changed at the end
of a line brings the whole line along. And it names both colours anew for each piece (37 bytes with the reset). Over SSH
that is most of what a screen that ticks, or a cursor that moves, would send.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from rich.color import ColorSystem
from rich.console import Console
from rich.control import Control
from rich.style import Style
from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip

from tui.widgets.blocks import WrittenLine

BOLD, DIM = 1, 2
_SHOWS_ON_BLANKS = 0b1_0011_0100_1000
"""Underline, reverse, strike and their kin, as rich numbers them: a blank shows these, and no letter's colour."""

Look = tuple[int, str, str]
"""Attributes (rich's bits), codes of the letter's colour, codes of the ground; "" is the terminal's own."""
PLAIN: Look = (0, "", "")


class TrimmedUpdate(ChopsUpdate):
    """A partial update that is cut at both edges."""

    def render_segments(self, console: Console) -> str:
        system = console._color_system or ColorSystem.TRUECOLOR
        sequences: list[str] = []
        look, line = PLAIN, -1
        for y, first, last in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                # chops that another widget drew over are None, whatever the annotation says
                if strip is None or x >= last or end <= first:
                    continue
                left = max(0, first - x)
                column, strip = x + left, strip.crop(left, min(end, last) - x)
                sequences.append(f"\x1b[{column + 1}G" if y == line else Control.move_to(column, y).segment.text)
                if isinstance(strip, WrittenLine) and system is ColorSystem.TRUECOLOR:
                    sequences += _change(look, PLAIN), strip.written
                    look, line = PLAIN, y
                    continue
                look = _write(sequences, strip, look, system)
                line = -1 if any("\x1b" in text for text, _, _ in strip) else y  # a sixel picture moves the cursor
        sequences.append(_change(look, PLAIN))
        return "".join(sequences)


def _write(sequences: list[str], strip: Strip, look: Look, system: ColorSystem) -> Look:
    """Add the strip to what is sent while the terminal writes in `look`; how it writes afterwards."""
    for text, style, _ in strip:
        if not text:
            continue
        wanted = PLAIN if style is None else _look(style, system)
        if text.isspace() and not (wanted[0] | look[0]) & _SHOWS_ON_BLANKS:
            wanted = (look[0], look[1], wanted[2])
        sequences.append(_change(look, wanted))
        look = wanted
        link = style._link if style is not None else None
        sequences.append(f"\x1b]8;id={style._link_id};{link}\x1b\\{text}\x1b]8;;\x1b\\" if style and link else text)
    return look


@lru_cache(4096)
def _look(style: Style, system: ColorSystem) -> Look:
    ink, ground = style.color, style.bgcolor
    return (
        style._attributes & style._set_attributes,
        "" if ink is None else ";".join(ink.downgrade(system).get_ansi_codes()),
        "" if ground is None else ";".join(ground.downgrade(system).get_ansi_codes(foreground=False)),
    )


@lru_cache(4096)
def _change(old: Look, new: Look) -> str:
    """The shortest sequence that leads from one look to the other."""
    if old == new:
        return ""
    if new == PLAIN:
        return "\x1b[0m"
    bits, (had, has) = Style._style_map, (old[0], new[0])
    gone = had & ~has
    if gone & ~BOLD or (gone and has & DIM) or any(was and not now for was, now in zip(old[1:], new[1:], strict=True)):
        codes, had, before = ["0"], 0, ("", "")
    else:
        codes, before = ["22"] if gone else [], old[1:]
    codes += [bits[bit] for bit in range(13) if has & ~had & 1 << bit]
    codes += [now for was, now in zip(before, new[1:], strict=True) if was != now]
    return f"\x1b[{';'.join(codes)}m"


class TrimmedCompositor(Compositor):
    """The compositor of a screen that ticks; of a widget it asks for the lines that are dirty."""

    _dirty: tuple[Region, ...] = ()

    def render_partial_update(self) -> ChopsUpdate | None:
        self._dirty = tuple(self._dirty_regions)
        try:
            update = super().render_partial_update()
        finally:
            self._dirty = ()
        return None if update is None else TrimmedUpdate(update.chops, update.spans, update.chop_ends)

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        # Textual's asks every widget within the box around all dirty regions for all its lines
        if not self._dirty:
            yield from super()._get_renders(crop)
            return
        for widget, (region, clip) in self.visible_widgets.items():
            seen = region.intersection(clip)
            hit = [part for each in self._dirty if (part := seen.intersection(each))]
            if hit:
                top, bottom = min(part.y for part in hit), max(part.bottom for part in hit)
                lines = Region(seen.x, top, seen.width, bottom - top)
                yield region, lines, widget.render_lines(lines.translate(-region.offset))


def trim(screen: Screen) -> None:
    """Let `screen` send only what is dirty; called in its constructor, before anything is drawn."""
    screen._compositor = TrimmedCompositor()
