"""A file with settings, whatever program it is from, recognised by what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from core.config.guide import Block, Guide, placeholders, read_guide, script_guide
from core.config.reading import flatten, read_toml
from core.problems import UserError
from core.text import human_bytes, printable

LARGEST = 5_000_000
"""Bytes; no settings are as long as this, and a model or a log is no settings."""
KINDS = "a Markdown guide, a TOML file, the JSON of kohya_ss, the TOML of LoRA Easy Training Scripts, or a script"
SUFFIXES = (".md", ".toml", ".json", ".sh", ".bat", ".cmd", ".ps1", ".txt")
_NAME_IT = f"Name {KINDS}."
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)


def read_source(path: Path, *, near: Sequence[Path] = ()) -> Guide:
    """The settings in `path`; files that it names are looked for beside it, and in the folders `near`.

    Raises UserError, naming the file and the line, when it cannot be read or when there are none in it.
    """
    path = path.expanduser()
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder", f"{_NAME_IT} A folder of images: kohya-tui import NAME FOLDER")
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(f"{path} has {human_bytes(size)}: no settings are as long as that", _NAME_IT)
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}", _NAME_IT) from error
    try:
        return read_text(decoded(data, str(path)), near=(path.parent, *near))
    except UserError as error:
        raise UserError(f"{path}: {error.message.removeprefix(f'{path}: ')}", error.hint) from error


def decoded(data: bytes, where: str) -> str:
    """The text of a file: UTF-8, or UTF-16 as PowerShell writes it. Raises UserError for anything else."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            pass
    if b"\0" in data[:4096]:
        raise UserError(f"{where}: it is no text", _NAME_IT)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: it is not UTF-8 (line {line})", "Save it as UTF-8.") from None


def read_text(text: str, *, near: Sequence[Path] = ()) -> Guide:
    """As `read_source`, of text that was read, or pasted."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise UserError("there is nothing in it", _NAME_IT)
    if text.lstrip().startswith(("{", "[{")):
        return _json(text, near)
    if not _FENCE.search(text):
        data = _toml(text)
        if data is not None:
            from core.config.easy_training import is_easy_training, read_easy_training

            if is_easy_training(data):
                given = read_easy_training(data)
                return _with_files(Guide((), (), given.script, None, (), kind="easy", given=given), near)
        elif re.search(r"\btrain_network\.py\b|_train_network\.py\b", text) or _calls_a_script(text):
            return _with_files(script_guide(text), near)
    return _with_files(read_guide(text), near)


def _calls_a_script(text: str) -> bool:
    return bool(re.search(r"(?:accelerate|python3?)\S*\s.*\b(?:sdxl_|flux_|sd3_)?train\w*\.py\b", text))


def _toml(text: str) -> dict[str, Any] | None:
    try:
        return read_toml(text, "the TOML")
    except UserError:
        return None


def _json(text: str, near: Sequence[Path]) -> Guide:
    from core.config.kohya_gui import is_kohya_gui, read_kohya_gui
    from core.config.shell import read_script

    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise UserError(
            f"line {error.lineno}, column {error.colno}: {reason}", "Correct it, or save it again."
        ) from None
    except RecursionError:
        raise UserError("it is nested too deeply", _NAME_IT) from None
    if not isinstance(data, dict) or not is_kohya_gui(data):
        raise UserError("it is JSON, and not what the LoRA tab of kohya_ss saves", _NAME_IT)
    given, extra = read_kohya_gui(data)
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if extra.strip():
        from core.config.guide import options_of

        calls = read_script(f"train_network.py {extra}", dialect="bash").calls
        options = tuple(options_of(calls[0].words, "the field “additional parameters”")) if calls else ()
    return _with_files(Guide((), options, given.script, None, (), kind="kohya_ss", given=given), near)


def _with_files(guide: Guide, near: Sequence[Path]) -> Guide:
    """The guide with the files that its settings name, as far as they are there, and its placeholders."""
    blocks = list(guide.toml)
    files = dict(guide.files)
    for option, name in list(_named(guide)):
        if option == "config_file" and any(not block.is_dataset for block in guide.toml):
            continue  # the guide shows it
        if option == "dataset_config" and any("[[datasets" in block.text for block in guide.toml):
            continue
        text = files.get(name) or files.get(name.removeprefix("./")) or _beside(name, guide.folder, near)
        if text is None and option == "config_file" and not name.endswith(".toml"):
            text = _beside(f"{name}.toml", guide.folder, near)  # sd-scripts appends it
        if text is None:
            continue
        files[name] = text
        if option != "sample_prompts" and name.endswith(".toml"):
            read_toml(text, name)
            blocks.append(Block(text, 1, name, is_dataset=option == "dataset_config"))
            if option == "config_file":
                for key, value in _named_in(text):
                    found = _beside(value, guide.folder, near)
                    if found is None:
                        continue
                    files[value] = found
                    if key == "dataset_config" and value.endswith(".toml"):
                        read_toml(found, value)
                        blocks.append(Block(found, 1, value, is_dataset=True))
    guide = replace(guide, toml=tuple(blocks), files=files)
    return replace(guide, placeholders=placeholders(guide))


def _named_in(text: str) -> Iterator[tuple[str, str]]:
    """(option, path) of the files that a training config names."""
    flat = flatten(_toml(text) or {})
    for key in ("dataset_config", "sample_prompts"):
        if isinstance(value := flat.get(key), str) and value:
            yield key, value


def _named(guide: Guide) -> Iterator[tuple[str, str]]:
    """(option, path) of every file with settings that the options name."""
    for name, values in guide.options:
        if len(name) > 5 and values:
            full = next(
                (key for key in ("config_file", "dataset_config", "sample_prompts") if key.startswith(name)), None
            )
            if full is not None and values[0]:
                yield full, " ".join(values)
    if guide.given is not None:
        for key in ("dataset_config", "sample_prompts"):
            value = guide.given.train.get(key)
            if isinstance(value, str) and value:
                yield key, value


def _beside(name: str, folder: str | None, near: Sequence[Path]) -> str | None:
    """The text of a file that a script names, as it runs here or as it lies beside the script."""
    base = PureWindowsPath(name).name if "\\" in name else Path(name).name
    places = [Path(name).expanduser()] if Path(name).expanduser().is_absolute() else []
    places += [Path(folder, name)] if folder and folder.startswith("/") else []
    for place in near:
        places += [place / name, place / base]
    for place in places:
        try:
            if place.is_file() and place.stat().st_size <= LARGEST:
                return decoded(place.read_bytes(), printable(str(place))).replace("\r\n", "\n")
        except OSError:
            continue
    return None
