"""The two themes of our own, the colours behind Textual's ANSI themes, and the paint for widgets that draw lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip
from textual.theme import Theme

Cells = list[tuple[str, str]]
"""A line as pieces of text with the name of a role, e.g. `[("12", "text"), (" tags", "muted")]`."""

CATEGORIES = {
    "general": ("g", "tag-general"),
    "character": ("c", "tag-character"),
    "copyright": ("p", "tag-copyright"),
    "artist": ("a", "tag-artist"),
    "meta": ("m", "tag-meta"),
    "rating": ("r", "tag-rating"),
}
"""Tag category → its letter and its role: a colour never stands alone."""

_COLOURS = {
    "night": {
        "background": "#11131a",
        "surface": "#171a23",
        "panel": "#1e222d",
        "text": "#d7dae0",
        "muted": "#7d8496",
        "accent": "#b4a0ff",
        "second": "#7cc7d8",
        "good": "#8fd18f",
        "caution": "#e6c072",
        "bad": "#ef7d84",
        "rule": "#2a2f3d",
        "cursor": "#262b3a",
        "cursor-away": "#1c202b",
        "tag-general": "#6cb6ff",
        "tag-character": "#7fd48a",
        "tag-copyright": "#cf9bf0",
        "tag-artist": "#f08a8a",
        "tag-meta": "#f0a860",
        "tag-rating": "#9aa0ae",
    },
    "day": {
        "background": "#f7f6f3",
        "surface": "#efede8",
        "panel": "#e6e3dc",
        "text": "#2b2d33",
        "muted": "#767a84",
        "accent": "#6247c9",
        "second": "#1f7f93",
        "good": "#2f7d3b",
        "caution": "#946200",
        "bad": "#b3303b",
        "rule": "#d5d1c8",
        "cursor": "#dcd8ee",
        "cursor-away": "#e9e6e0",
        "tag-general": "#0a63c2",
        "tag-character": "#1d7a30",
        "tag-copyright": "#8a35b8",
        "tag-artist": "#b02a2a",
        "tag-meta": "#a85a00",
        "tag-rating": "#6a6e78",
    },
}
_ANSI = {
    "muted": "ansi_bright_black",
    "second": "ansi_cyan",
    "good": "ansi_green",
    "caution": "ansi_yellow",
    "bad": "ansi_red",
    "rule": "ansi_bright_black",
    "cursor": "ansi_blue",
    "cursor-away": "ansi_bright_black",
    "tag-general": "ansi_blue",
    "tag-character": "ansi_green",
    "tag-copyright": "ansi_magenta",
    "tag-artist": "ansi_red",
    "tag-meta": "ansi_yellow",
    "tag-rating": "ansi_bright_black",
}
_OWN = tuple(_ANSI)
_MARKS_BLANKS = {"underline", "strike", "reverse"}


def _theme(name: str, *, dark: bool) -> Theme:
    colour = _COLOURS[name]
    return Theme(
        name=name,
        dark=dark,
        primary=colour["accent"],
        secondary=colour["second"],
        accent=colour["accent"],
        success=colour["good"],
        warning=colour["caution"],
        error=colour["bad"],
        foreground=colour["text"],
        background=colour["background"],
        surface=colour["surface"],
        panel=colour["panel"],
        variables={
            **{key: colour[key] for key in _OWN},
            "border": colour["accent"],
            "border-blurred": colour["rule"],
            "scrollbar": colour["rule"],
            "scrollbar-hover": colour["muted"],
            "scrollbar-active": colour["accent"],
            "scrollbar-background": colour["background"],
            "scrollbar-background-hover": colour["background"],
            "scrollbar-background-active": colour["background"],
            "scrollbar-corner-color": colour["background"],
            "block-cursor-background": colour["cursor"],
            "block-cursor-foreground": colour["text"],
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": colour["cursor-away"],
            "block-cursor-blurred-foreground": colour["text"],
            "block-hover-background": colour["cursor-away"],
            "input-selection-background": f"{colour['accent']} 35%",
            "footer-key-foreground": colour["accent"],
        },
    )


THEMES = (_theme("night", dark=True), _theme("day", dark=False))


def variable_defaults(theme: str) -> dict[str, str]:
    """Our variables for a theme that does not define them: the terminal's own colours, as ANSI themes want it."""
    defaults = dict(_ANSI)
    if theme == "ansi-light":
        defaults |= {"cursor": "ansi_bright_blue", "cursor-away": "ansi_white", "caution": "ansi_magenta"}
    return defaults


class Paint:
    """Rich styles by role for widgets that draw their own lines.

    A role is the name of a theme variable followed by any of `bold`, `dim`, `italic`, `underline`, `strike`, `reverse`:
    `paint("accent bold", on="cursor")`. `text` is the foreground.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._styles: dict[tuple[str, str], Style] = {}

    def __call__(self, role: str, on: str = "background") -> Style:
        key = (role, on)
        style = self._styles.get(key)
        if style is None:
            colour, *attributes = role.split()
            style = Style(color=self._colour(colour).rich_color, bgcolor=self._colour(on).rich_color)
            if attributes:
                style += Style.parse(" ".join(attributes))
            self._styles[key] = style
        return style

    def rgb(self, name: str) -> tuple[int, int, int]:
        """The colour as numbers, for pictures that lie over it (a terminal's own colour counts as black)."""
        colour = self._colour(name)
        return (0, 0, 0) if colour.ansi is not None else colour.rgb

    def _colour(self, name: str) -> Color:
        value = self._variables.get("foreground" if name == "text" else name, "")
        return Color.parse(value or self._variables["foreground"])

    def strip(self, cells: Iterable[tuple[str, str]], width: int, on: str = "background") -> Strip:
        """One line of exactly `width` cells, cut or filled with the background.

        Blanks show no colour of their own and take that of the text before them: each change of colour is 40 bytes.
        """
        segments: list[Segment] = []
        before = ""
        for text, role in cells:
            if before and text.isspace() and not _MARKS_BLANKS.intersection((*before.split(), *role.split())):
                role = before
            if text:
                segments.append(Segment(text, self(role, on)))
                before = role
        if not before or _MARKS_BLANKS.intersection(before.split()):
            before = "text"
        return Strip(segments).adjust_cell_length(width, self(before, on)).simplify()


def fit(text: str, width: int, *, right: bool = False, middle: bool = False) -> str:
    """`text` in exactly `width` cells: filled with blanks (before it when `right`), or cut with `…`.

    `middle` keeps both ends of a file name, where its number and its suffix are.
    """
    if width <= 0:
        return ""
    length = cell_len(text)
    if length <= width:
        return " " * (width - length) + text if right else text + " " * (width - length)
    if middle and width >= 8:
        tail = width // 3
        return set_cell_size(text, width - tail - 1).rstrip() + "…" + _tail(text, tail)
    return set_cell_size(text, width - 1) + "…"


def words(parts: Iterable[str], width: int, separator: str = ", ") -> str:
    """As many whole parts as fit into `width` cells, then `…`: no tag is cut in its middle unless it stands alone."""
    taken = ""
    for part in parts:
        longer = f"{taken}{separator}{part}" if taken else part
        if cell_len(longer) > width:
            more = f"{taken}{separator}…"
            if taken and cell_len(more) <= width:
                return more
            return fit(taken or part, width).rstrip() if width > 0 else ""
        taken = longer
    return taken


def _tail(text: str, width: int) -> str:
    kept = ""
    for character in reversed(text):
        if cell_len(character + kept) > width:
            break
        kept = character + kept
    return " " * (width - cell_len(kept)) + kept
