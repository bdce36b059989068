"""Guides from the web: what stands in their TOML blocks and training scripts, read as sd-scripts would."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from core.config.reading import read_toml
from core.config.schema import LEVELS, dataset_names, fields, scripts
from core.config.shell import Call, Script, read_script
from core.problems import UserError
from core.text import printable

if TYPE_CHECKING:
    from core.config.foreign import Foreign
    from core.config.split import GuideResult
    from core.workspace import Workspace

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\2[ \t]*$", re.MULTILINE | re.DOTALL)
_PLACEHOLDERS = (
    re.compile(r"/path/to/[\w.-]+"),
    re.compile(r"\b(?:character_name_here|character_name|trigger_word)(?=\b|_)"),
    re.compile(r"<[A-Za-z][\w /-]*>"),
    re.compile(r"\b(?:your|YOUR)_[A-Za-z_]+\b|\bCHANGE_ME\b"),
    re.compile(r"\$\([^()]*\)|\$\{?\w+\}?|%\w+%"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the guide and the line on which it starts."""

    text: str
    line: int
    name: str = ""
    """The file that it is, where a script names one."""
    is_dataset: bool = False
    """Whether that file is a dataset file, and not a training config."""


@dataclass(frozen=True, slots=True)
class Guide:
    """What a guide says, with its placeholders unanswered."""

    toml: tuple[Block, ...]
    options: tuple[tuple[str, tuple[str, ...]], ...]
    """Options of the training script in order: name without dashes, values (none for a flag)."""
    script: str | None
    """The training script that is called, by file name."""
    folder: str | None
    """Where the script changes to before it starts: paths of the guide are below it."""
    placeholders: tuple[str, ...]
    """Texts that a reader is meant to replace, such as `character_name` and `/path/to/kohya_ss`."""
    variables: Mapping[str, str] = field(default_factory=dict)
    kind: str = "guide"
    """`guide`, `script`, `kohya_ss` or `easy`."""
    launcher: tuple[str, ...] = ()
    """What the script gives accelerate, and the GPU that it chooses, word by word."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The text of the files that the options name, by the name that they give, as far as these were found."""
    undecided: tuple[str, ...] = ()
    """Conditions of the script that were taken as true."""
    calls: int = 1
    """How often the script trains; only the first is taken."""
    given: Foreign | None = None
    """The settings of another program."""


def read_guide(text: str) -> Guide:
    """Find the sd-scripts settings in a Markdown guide, in its TOML block alone, or in its shell script alone.

    Byte order marks and CRLF are fine. Raises UserError when there are none, or when a TOML block has an error.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    blocks = list(_blocks(text))
    toml: list[Block] = []
    shell: list[Block] = []
    for language, block in blocks:
        if language == "toml" or (not language and _is_toml(block.text)):
            _check(block)
            if _is_config(block.text):
                toml.append(block)
        elif "train_network.py" in block.text:
            shell.append(block)
    found = Script()
    for block in shell:
        more = read_script(block.text, variables=found.variables)
        found.calls += more.calls
        found.variables |= more.variables
        found.files |= more.files
        found.undecided += more.undecided
    if not toml and not found.calls:
        raise UserError(
            "No settings for sd-scripts were found in it",
            "Give a guide with a ```toml block or a train_network.py command, or the TOML file itself.",
        )
    return _guide(tuple(toml), found, "guide", every=True)


def script_guide(text: str) -> Guide:
    """The settings of a script, or of a pasted command line. Raises UserError when it trains no LoRA."""
    found = read_script(text)
    if not found.calls:
        if found.others:
            raise UserError(
                f"The script calls {found.others[0]}, which trains no LoRA", "Name one that calls …train_network.py."
            )
        raise UserError(
            "No call of train_network.py was found in it", "Paste the whole command, from python or accelerate on."
        )
    return _guide((), found, "script", every=False)


def _guide(toml: tuple[Block, ...], found: Script, kind: str, *, every: bool) -> Guide:
    """Of several calls a guide means the same training, step by step; a script trains several things."""
    calls: list[Call] = found.calls if every else found.calls[:1]
    options = [option for call in calls for option in options_of(call.words, "The script")]
    folder = next((call.folder for call in calls if call.folder), None)
    script = calls[0].script if calls else None
    launcher = calls[0].launcher if calls else ()
    guide = Guide(
        toml,
        tuple(options),
        script,
        folder,
        (),
        found.variables,
        kind,
        launcher,
        found.files,
        tuple(found.undecided),
        len(found.calls),
    )
    return replace(guide, placeholders=placeholders(guide))


def default_answers(guide: Guide, workspace: Workspace, name: str | None = None) -> dict[str, str]:
    """What the placeholders probably stand for: the workspace for a path, `name` or the only dataset for a name."""
    names = workspace.dataset_names()
    likely = name if name in names or len(names) != 1 else names[0]
    answers: dict[str, str] = {}
    for placeholder in guide.placeholders:
        if placeholder.startswith("/path/to/"):
            answers[placeholder] = str(workspace.root)
        elif placeholder.startswith(("character_name", "trigger_word")) and likely:
            answers[placeholder] = likely
    return answers


def convert(
    guide: Guide, answers: Mapping[str, str], name: str | None = None, workspace: Workspace | None = None
) -> GuideResult:
    """Split the guide's settings into the three files that sd-scripts reads, with a list of what moved and why.

    The options of the script win over the TOML as the trainer's parser would have it. Paths below the answer to
    `/path/to/…`, or below the workspace, become relative to it. A placeholder without an answer is a problem.
    """
    from core.config.split import split

    return split(guide, answers, name, workspace)


def answered(text: str, answers: Mapping[str, str]) -> str:
    """`text` with the answered placeholders replaced, longer ones first; `character_name_lora` becomes `rinni_lora`."""
    for placeholder in sorted(answers, key=len, reverse=True):
        if answers[placeholder]:
            text = text.replace(placeholder, answers[placeholder])
    return text


def open_placeholders(text: str) -> list[str]:
    """The placeholders that stand in `text`, in order, each once."""
    found: dict[str, int] = {}
    for pattern in _PLACEHOLDERS:
        for match in pattern.finditer(text):
            found.setdefault(match[0], match.start())
    return sorted(found, key=lambda item: found[item])


def _blocks(text: str) -> Iterator[tuple[str, Block]]:
    found = False
    for match in _FENCE.finditer(text):
        found = True
        line = text.count("\n", 0, match.start(4)) + 1
        yield match[3].lower(), Block(textwrap.dedent(match[4]), line)
    if not found:
        yield ("" if _is_toml(text) or "train_network.py" in text else "toml"), Block(text, 1)


def _is_toml(text: str) -> bool:
    try:
        return bool(read_toml(text, ""))
    except UserError:
        return False


def _is_config(text: str) -> bool:
    data = read_toml(text, "")
    if "datasets" in data:
        return True
    known = set(fields()).union(*(fields(name) for name in scripts()), *(dataset_names(level) for level in LEVELS))
    flat = {key for value in data.values() if isinstance(value, dict) for key in value} | data.keys()
    return len(flat & known) >= min(2, len(flat))


def _check(block: Block) -> None:
    where = "the TOML" if block.line == 1 else f"the TOML block from line {block.line}"
    read_toml(block.text, where)


def options_of(words: Sequence[str], where: str) -> list[tuple[str, tuple[str, ...]]]:
    """The options in words of a command line: name without dashes, its values. UserError for a value before any."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            found.append((name.replace("-", "_"), (value,) if equals else ()))
        elif found:
            found[-1] = (found[-1][0], (*found[-1][1], word))
        elif word not in {"$@", "$*", "%*"}:
            raise UserError(f"{where} passes {printable(word)!r} before any option", "Remove it, then try again.")
    return [(name, tuple(value for value in values if value not in {"$@", "$*", "%*"})) for name, values in found]


def placeholders(guide: Guide) -> tuple[str, ...]:
    """What a reader is meant to replace in the settings of a guide."""
    texts = [block.text for block in guide.toml]
    texts += [" ".join(values) for _, values in guide.options]
    if guide.folder is not None:
        texts.append(guide.folder)
    if guide.given is not None:
        values = [*guide.given.train.values(), *(value for row in guide.given.subsets for value in row.values())]
        texts += [value for value in values if isinstance(value, str)]
    found = open_placeholders("\n".join(texts))
    return tuple(item for item in found if not (item[0] in "$%" and item.strip("${}%") in guide.variables))
