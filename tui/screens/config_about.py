"""What is said below the form: about the field under the cursor, what is typed, or the file in the raw editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.config.exclusions import in_force, missing, partners, without_effect
from core.config.schema import dataset_field, parse_value
from core.config.values import NOUNS
from core.problems import UserError
from core.text import printable
from tui.screens.config_form import MARKS, bare, display, options
from tui.theme import Cells

if TYPE_CHECKING:
    from core.config.documents import Config, FileName
    from core.config.schema import Field
    from tui.screens.config_open import OpenConfig

ABOUT: dict[FileName, str] = {
    "train": "train.toml: the options of the training script.",
    "dataset": "dataset.toml: which folders are trained on, how often, at which size.",
    "prompts": "prompts.txt: one sample picture a line.  --w --h size  --d seed  --s steps  --l guidance  --n negative",
}


def about(opened: OpenConfig, file: FileName | None, key: str | None, typing: str | None) -> list[Cells]:
    """The lines, the most pressing first; `typing` is what stands in the open input."""
    config = opened.config
    if file is not None:
        return _file(opened, file)
    name = bare(key or "")
    option = dataset_field(name) if name != key else options(config).get(name)
    problem = opened.worst.get(key or "")
    if typing is not None and key:
        wrong = _wrong(config, key, typing)
        if wrong is not None:
            return [[(" ✗ ", "bad"), (printable(wrong.message), "text")], *_help(option, key)]
    elif problem is not None:
        glyph, role = MARKS[problem.severity]
        fix = "  fix: F" if problem.fixable else ""
        said = f"{problem.message}. {problem.hint or ''}".replace("..", ".").rstrip()
        return [[(f" {glyph} ", role), (printable(said) + fix, "text")], *_help(option, key or "")]
    if option is None:
        return []
    return [*_help(option, key or ""), *_beside(config, name), _facts(config, option, key or ""), *_upstream(option)]


def _file(opened: OpenConfig, file: FileName) -> list[Cells]:
    error = opened.wrong or opened.config.broken.get(file)
    if error is None:
        return [[(f" {ABOUT[file]}", "muted")], [(" ^t or Esc: back to the form", "muted")]]
    path = opened.config.path(file)
    lines: list[Cells] = [[(" ✗ ", "bad"), (printable(error.message.replace(str(path), path.name)), "text")]]
    return [*lines, [(f"   {printable(error.hint)}", "muted")]] if error.hint else lines


def _wrong(config: Config, key: str, text: str) -> UserError | None:
    """Why what is typed would be refused."""
    try:
        parse_value(config.home(key), key, text.strip(), config.script)
    except UserError as error:
        return error
    return None


def _help(option: Field | None, key: str) -> list[Cells]:
    return [[(f" {printable(option.help or option.upstream or key)}", "text")]] if option is not None else []


def _upstream(option: Field) -> list[Cells]:
    """The authors' words, behind ours, where there is room."""
    said = option.upstream if option.help else ""
    return [[(f" sd-scripts: {printable(said)}", "muted")]] if said else []


def _beside(config: Config, name: str) -> list[Cells]:
    """What excludes the option, what it lacks, or what it could not go with."""
    values = config.effective()
    values |= {key: value for key in _dataset_keys(name, config) if (value := config.get("dataset", key)) is not None}
    if name in without_effect(config.script):
        return [[(" ! ", "caution"), (f"{config.script} makes nothing of it.", "text")]]
    against = in_force(name, values, config.script)
    if against:
        other, why = against[0]
        return [[(" ! ", "caution"), (f"not with {other}, which is set: {why}.", "text")]]
    lacks = missing(name, values)
    if lacks is not None:
        return [[(" · ", "muted"), (f"{lacks}.", "muted")]]
    others = list(partners(name, config.script))
    if not others:
        return []
    return [[(f" Not with {', '.join(other for other, _ in others)}: {others[0][1]}.", "muted")]]


def _dataset_keys(name: str, config: Config) -> set[str]:
    return {name, "masked_loss", "shuffle_caption"} | {other for other, _ in partners(name, config.script)}


def _facts(config: Config, option: Field, key: str) -> Cells:
    default = "" if option.default in (None, "") else f" · default {display(option.default)}"
    kind = "" if option.type in {"bool", "choice"} else f" · {NOUNS[option.type]}"
    return [(f" {config.home(key)}.toml{default}{kind}", "muted")]
