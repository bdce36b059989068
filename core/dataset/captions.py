"""The tag grammar of captions: comma-separated tags on the first line, which is all that sd-scripts reads.

Text that is not edited is never rewritten: every function here returns its input when nothing changes.
"""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.problems import UserError
from core.text import printable

_LINE_END = re.compile(r"\r\n|\r|\n")
_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


class CaptionError(UserError):
    """A caption file that cannot be read as text; it is left as it is."""


def split(text: str) -> list[str]:
    """The tags of the first line, trimmed, empty ones left out, case kept. sd-scripts knows no escape for a comma."""
    return [tag for part in first_line(text).split(",") if (tag := part.strip())]


def join(tags: Sequence[str]) -> str:
    """`tags` as sd-scripts' tagger writes them: separated by a comma and a space."""
    return ", ".join(tags)


def first_line(text: str) -> str:
    """What sd-scripts trains on (train_util.py, `read_caption`); the other lines count with enable_wildcard only."""
    return text.partition("\n")[0].partition("\r")[0]


def tag_key(tag: str) -> str:
    """Two tags are the same tag when their keys are equal: case, underscores and runs of blanks do not count."""
    return " ".join(tag.replace("_", " ").casefold().split())


def same_tag(a: str, b: str) -> bool:
    """Whether `a` and `b` are the same tag: `Long_Hair` is `long hair`, `rinni` is not `rinnifer`."""
    return tag_key(a) == tag_key(b)


def spelled_like(tag: str, others: Iterable[str]) -> str:
    """`tag` with underscores for its blanks where `others` are written so, and none of them has a blank."""
    others = tuple(others)
    if " " not in tag or any(" " in other for other in others):
        return tag
    return tag.replace(" ", "_") if any("_" in other and len(other) > 3 for other in others) else tag  # not `^_^`


def clean_tag(tag: str) -> str:
    """`tag` as one line can hold it: line ends and runs of blanks become one blank, the ends are trimmed."""
    return " ".join(tag.split())


def check_tag(tag: str, what: str = "tag") -> None:
    """UserError when `tag` holds a control character (Esc, Backspace …): it would be trained and sent to terminals."""
    for char in tag:
        if unicodedata.category(char) == "Cc" and not char.isspace():
            raise UserError(
                f"The {what} {printable(tag)!r} has a control character in it (U+{ord(char):04X})",
                "Type it again; something invisible came along when it was copied.",
            )


def decode(data: bytes, path: Path) -> str:
    """The text in `data`, a byte order mark taken off, line ends kept. Raises CaptionError naming `path`."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")  # a tenth of the cost of the codec utf-8-sig
    except UnicodeDecodeError as error:
        looks = next((name for mark, name in _BOMS if data.startswith(mark)), None)
        what = f"it looks like {looks}" if looks else f"byte {error.start + 1} cannot be read"
        raise CaptionError(
            f"The caption {path} is not UTF-8 ({what})",
            "sd-scripts stops at such a file. Save it as UTF-8 in an editor, or convert it: "
            f"iconv -f {looks or 'LATIN1'} -t UTF-8 OLD > NEW{'' if looks else ' (CP932 for Japanese)'}",
        ) from error


ENCODINGS = (
    ("utf-16", "UTF-16"),
    ("cp1252", "CP1252 (Western)"),
    ("cp932", "CP932 (Japanese)"),
    ("gb18030", "GB18030"),
)


def readings(data: bytes) -> list[tuple[str, str, str]]:
    """(encoding, its name, the text) for each other encoding in which `data` can be a caption, the likeliest first."""
    found = []
    for encoding, name in ENCODINGS:
        if (encoding == "utf-16") != any(data.startswith(mark) for mark, _ in _BOMS):
            continue
        with contextlib.suppress(UnicodeDecodeError):
            found.append((encoding, name, data.decode(encoding)))
    return found


def read_bytes(path: Path) -> bytes | None:
    """The raw content of a small file, None when it is missing. Raises CaptionError when it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        parts = []
        while chunk := os.read(descriptor, 1 << 16):
            parts.append(chunk)
        return b"".join(parts)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> CaptionError:
    return CaptionError(f"Cannot read {path}: {error.strerror or error}", "Check that it is a file you may read.")


def read(path: Path) -> str:
    """The caption in `path`, "" when there is no such file. Raises CaptionError when it is not UTF-8."""
    data = read_bytes(path)
    return "" if data is None else decode(data, path)


def has_no_tag(path: Path) -> bool:
    """Whether there is nothing to train on in a caption: no such file, or no tag on its first line.

    One that is not text, or may not be read, is not empty: what it says is unknown.
    """
    try:
        return not split(read(path))
    except CaptionError:
        return False


def text_with_tags(old_text: str, tags: Sequence[str]) -> str:
    """`old_text` with the tags of its first line replaced; its further lines and its line ends stay.

    Raises UserError for a new tag with a control character; those that stand there may stay.
    """
    wanted = [clean for tag in tags if (clean := clean_tag(tag))]
    old = split(old_text)
    if wanted == old:
        return old_text
    for tag in wanted:
        if tag not in old:
            check_tag(tag)
    line = first_line(old_text)
    return join(wanted) + old_text[len(line) :]


def with_trigger(text: str, word: str) -> str:
    """`text` with the trigger `word` (one tag, or several separated by commas) as its first tags, once, spelled so.

    Other occurrences of the same tag are removed; what stands between the other commas is not touched, so prose stays
    prose. Raises UserError when `word` holds no tag.
    """
    trigger = trigger_tags(word)
    keys = {tag_key(tag) for tag in trigger}
    line = first_line(text)
    parts = line.split(",")
    others = [part for part in parts if tag_key(part) not in keys]
    if [part.strip() for part in parts[: len(trigger)]] == trigger and parts[len(trigger) :] == others:
        return text
    rest = ",".join(others).strip(", \t\u3000")
    return join([*trigger, rest] if rest else trigger) + text[len(line) :]


def trigger_tags(word: str) -> list[str]:
    """The tags of a trigger word, each once.

    Raises UserError when there is none, when it has several lines, and when it has a control character.
    """
    if _LINE_END.search(word.strip()):
        raise UserError("The trigger word has a line break in it", "Give it on one line: rinni, or rinni, 1girl")
    check_tag(word, "trigger word")
    tags: dict[str, str] = {}
    for tag in split(word.strip()):
        tags.setdefault(tag_key(tag), clean_tag(tag))
    tags.pop("", None)
    if not tags:
        raise UserError("The trigger word is empty", "Name the word, for example: kohya-tui trigger DATASET rinni")
    return list(tags.values())
