"""Guides from the web: what stands in their TOML blocks and training scripts, read as sd-scripts would."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.config.reading import read_toml
from core.config.schema import LEVELS, dataset_names, fields, scripts
from core.problems import UserError
from core.text import printable

if TYPE_CHECKING:
    from core.config.split import GuideResult
    from core.workspace import Workspace

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*\2[ \t]*$", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"^\s*(?:export\s+|local\s+)?([A-Za-z_]\w*)=(.*)$")
_REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SCRIPT = re.compile(r"(?:^|[/\\])((?:\w+_)?train_network\.py)$")
_PLACEHOLDERS = (
    re.compile(r"/path/to/[\w.-]+"),
    re.compile(r"\b(?:character_name_here|character_name|trigger_word)(?=\b|_)"),
    re.compile(r"<[A-Za-z][\w /-]*>"),
    re.compile(r"\b(?:your|YOUR)_[A-Za-z_]+\b|\bCHANGE_ME\b"),
    re.compile(r"\$\{?\w+\}?"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the guide and the line on which it starts."""

    text: str
    line: int


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
    options: list[tuple[str, tuple[str, ...]]] = []
    script: str | None = None
    folder: str | None = None
    variables: dict[str, str] = {}
    for block in shell:
        for name, place, found in _commands(block, variables):
            script, folder = script or name, folder or place
            options.extend(found)
    if not toml and not options:
        raise UserError(
            "No settings for sd-scripts were found in it",
            "Give a guide with a ```toml block or a train_network.py command, or the TOML file itself.",
        )
    guide = Guide(tuple(toml), tuple(options), script, folder, (), variables)
    return Guide(guide.toml, guide.options, script, folder, _placeholders(guide), variables)


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


def _commands(
    block: Block, variables: dict[str, str]
) -> Iterator[tuple[str, str | None, list[tuple[str, tuple[str, ...]]]]]:
    """The calls of a training script in a shell block: script, folder, options; fills `variables`."""
    folder: str | None = None
    text = re.sub(r"[ \t]*[\\`^]\n", " ", block.text)
    for number, line in enumerate(text.split("\n")):
        assignment = _VARIABLE.match(line)
        try:
            if assignment is not None and "train_network.py" not in line:
                words = shlex.split(assignment[2], comments=True)
                variables[assignment[1]] = _expanded(words[0] if words else "", variables)
                continue
            if line.strip().startswith("cd "):
                folder = _expanded(" ".join(shlex.split(line, comments=True)[1:]), variables)
                continue
            if "train_network.py" not in line or line.lstrip().startswith("#"):
                continue
            words = [_expanded(word, variables) for word in shlex.split(line, comments=True)]
        except ValueError as error:
            where = f"from line {block.line}" if block.line > 1 else f"line {number + 1}"
            raise UserError(f"The script ({where}) cannot be read: {error}", "Check its quotes.") from error
        for index, word in enumerate(words):
            script = _SCRIPT.search(word)
            if script is not None:
                yield script[1], folder, _options(words[index + 1 :])
                break


def _expanded(word: str, variables: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: variables.get(match[1] or match[2], match[0]), word)


def _options(words: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    for word in words:
        if word in {"|", "&&", ";", "&", ">", ">>", "2>&1", "||"}:
            break
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            found.append((name.replace("-", "_"), (value,) if equals else ()))
        elif found:
            found[-1] = (found[-1][0], (*found[-1][1], word))
        else:
            raise UserError(f"The script passes {printable(word)!r} before any option", "Remove it, then try again.")
    return found


def _placeholders(guide: Guide) -> tuple[str, ...]:
    texts = [block.text for block in guide.toml]
    texts += [" ".join(values) for _, values in guide.options]
    if guide.folder is not None:
        texts.append(guide.folder)
    found = open_placeholders("\n".join(texts))
    return tuple(item for item in found if not (item.startswith("$") and item.strip("${}") in guide.variables))
