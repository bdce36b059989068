"""Tokens in a config: found, and hidden where a config is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from core.config.check_options import TRAIN, warning
from core.problems import Problem

if TYPE_CHECKING:
    from core.config.documents import Config, FileName

INSTEAD = {"huggingface_token": "HF_TOKEN", "wandb_api_key": "WANDB_API_KEY"}
"""Option → the environment variable that its library reads."""
HIDDEN = "(hidden)"
_LINE = re.compile(rf"""^([ \t]*["']?(?:{"|".join(INSTEAD)})["']?[ \t]*=[ \t]*).*$""", re.MULTILINE)


def check_secrets(config: Config) -> Iterator[Problem]:
    """Tokens that stand in train.toml: it is copied into every run, and shared with everything else in it."""
    train = config.effective()
    for key, variable in INSTEAD.items():
        if train.get(key):
            hint = f"Set {variable} in the environment, from where the trainer takes it, and remove the key here."
            message = "is a secret in a file that every run copies, and that is easily shared"
            yield warning("KT245", f"{TRAIN}: {key}", message, hint)


def hidden(key: str, value: Any) -> Any:
    """`value`, or a word in its place when `key` is a token's."""
    return HIDDEN if key in INSTEAD and value else value


def hidden_text(config: Config, file: FileName) -> str:
    """The text of a file without the values of its tokens, also when it is not TOML."""
    text = config.text(file)
    train = config.effective()
    for value in (train.get(key) for key in INSTEAD):
        if isinstance(value, str) and value.strip():
            text = text.replace(value, HIDDEN)
    return _LINE.sub(rf'\g<1>"{HIDDEN}"', text)
