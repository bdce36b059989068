"""From a field to its place in the raw text and back, so that both views stay where the user is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.config.documents import FileName
from core.config.lines import key_in, line_of
from core.config.prompts import is_prompt, lines_of

if TYPE_CHECKING:
    from core.config.documents import Config
    from tui.screens.config_open import OpenConfig


def place_in(opened: OpenConfig, file: FileName, text: str, key: str | None) -> tuple[int, int] | None:
    """Line and column, from 0: of the mistake in the file, else of `key`; None for neither."""
    error = opened.wrong if file in opened.raw else opened.config.broken.get(file)
    found = re.search(r"line (\d+)(?:, column (\d+))?", error.message) if error is not None else None
    if found is not None:
        return int(found[1]) - 1, int(found[2] or 1) - 1
    if key is None:
        return None
    from tui.screens.config_prompts import split

    line = split(key)[0] if file == "prompts" else line_of(text, file, key)
    return (line, 0) if line is not None else None


def key_at(config: Config, file: FileName, line: int) -> str | None:
    """The field for a line of a file: of the first subset the form's own, else that of the folders; None for none."""
    text = config.text(file)
    if file == "prompts":
        from tui.screens.config_prompts import key_of

        lines = lines_of(text)
        return key_of(line) if line < len(lines) and is_prompt(lines[line]) else None
    key = key_in(text, file, line)
    if key is None or file == "train":
        return key
    name = key.rpartition(".")[2]
    is_first = config.get("dataset", name) == config.get("dataset", key)
    return name if is_first and not re.match(r"datasets\[(?!0\])|datasets\[0\]\.subsets\[(?!0\])", key) else key
