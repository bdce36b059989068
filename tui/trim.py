"""Sends only the cells of a dirty region.

Textual 8.2 cuts what it sends at the right edge of the region but not at the left one: a number that changed at the end
of a line brings the whole line along. Over SSH that is most of what a screen that ticks would send.
"""

from __future__ import annotations

from rich.console import Console
from rich.control import Control
from textual._compositor import ChopsUpdate, Compositor
from textual.screen import Screen


class TrimmedUpdate(ChopsUpdate):
    """A partial update that is cut at both edges."""

    def render_segments(self, console: Console) -> str:
        sequences: list[str] = []
        last_y = self.spans[-1][0]
        for y, first, last in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                # chops that another widget drew over are None, whatever the annotation says
                if strip is None or x >= last or end <= first:
                    continue
                left = max(0, first - x)
                sequences.append(Control.move_to(x + left, y).segment.text)
                sequences.append(strip.crop(left, min(end, last) - x).simplify().render(console))
            if y != last_y:
                sequences.append("\n")
        return "".join(sequences)


class TrimmedCompositor(Compositor):
    """The compositor of a screen that ticks."""

    def render_partial_update(self) -> ChopsUpdate | None:
        update = super().render_partial_update()
        return None if update is None else TrimmedUpdate(update.chops, update.spans, update.chop_ends)


def trim(screen: Screen) -> None:
    """Let `screen` send only what is dirty; called in its constructor, before anything is drawn."""
    screen._compositor = TrimmedCompositor()
