"""Text for people: what comes from outside made safe to show, and numbers in the words that users read."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS, SOS, PM, APC with their text
    r"|\x1b[ -/]*[0-~]",  # two-character escapes
    re.DOTALL,
)
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\u061c\u180e\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def strip_escapes(text: str) -> str:
    """Without terminal control sequences (CSI, OSC, DCS …); line ends and carriage returns stay."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def printable(text: str, *, newlines: bool = False) -> str:
    """`text` as it may reach a terminal: no control sequence, no control, bidirectional or invisible character.

    Tabs become spaces; line ends become a visible `⏎` unless `newlines` is set. Everything that was written by somebody
    else (captions, file names, logs, model metadata) passes here before it is shown.
    """
    text = strip_escapes(text).expandtabs(4)
    if not newlines:
        text = text.replace("\r\n", "⏎").replace("\n", "⏎")
    return visible(text)


def visible(text: str) -> str:
    """`text` with `�` for each character that `printable` does not let pass, all others in their places."""
    return _CONTROLS.sub("�", text)


def human_bytes(count: float) -> str:
    """`218 MB`, `19.8 GB`: decimal units, as disks and checkpoints are sold."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            if unit == "B" or count >= 99.5:
                return f"{count:.0f} {unit}"
            return f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def human_gib(count: int) -> str:
    """GPU memory in GiB with one decimal and no unit: `19.8` (the unit stands once beside the pair)."""
    return f"{count / 2**30:.1f}"


def human_seconds(seconds: float) -> str:
    """`42s`, `12m`, `1h 12m`, `2d 3h`: the two parts that matter."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s" if whole < 600 else f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def human_age(seconds: float) -> str:
    """`just now`, `3m ago`, `2h ago`, `5d ago`."""
    if seconds < 60:
        return "just now"
    for limit, size, unit in ((3600, 60, "m"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)}{unit} ago"
    return f"{int(seconds // 86400)}d ago"


def count_of(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `1,204 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
