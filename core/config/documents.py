"""A config: the two TOML files that sd-scripts reads, and the prompt file, as documents that keep comments and order.

`configs/<name>/{train.toml,dataset.toml,prompts.txt}`. Paths inside are relative to the workspace, the folder in which
the trainer runs. What was not touched is saved byte for byte, or rather not at all. Reading needs no tomlkit; the first
change does (130 ms).
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from core.config import places
from core.config.containers import holders_of, set_option
from core.config.reading import LARGEST, flatten, read_toml, too_large
from core.config.schema import LEVELS, Field, dataset_names, fields
from core.config.values import coerce
from core.problems import UserError

if TYPE_CHECKING:
    from tomlkit.toml_document import TOMLDocument

    from core.dataset.edits import EditGroup, Journal
    from core.workspace import Workspace

FileName = Literal["train", "dataset", "prompts"]
SAID_SCRIPT = re.compile(r"^#\s*script:\s*(\w+\.py)\s*$", re.MULTILINE)
"""The comment in train.toml that names the training script."""
FILES: Final[dict[FileName, str]] = {"train": "train.toml", "dataset": "dataset.toml", "prompts": "prompts.txt"}
_NAMED = re.compile(r"(?:.*/)?(train\.toml|dataset\.toml|prompts\.txt)(?:: (.*))?", re.DOTALL)


def place_of(where: str) -> tuple[FileName | None, str]:
    """The file of a config that a problem's `where` names, and the key or line in it; None, "" for anything else.

    `configs/rinni/train.toml: network_dim` is ("train", "network_dim").
    """
    found = _NAMED.fullmatch(where)
    if found is None:
        return None, ""
    return next(file for file, name in FILES.items() if name == found[1]), found[2] or ""


def open_config(workspace: Workspace, name: str) -> Config:
    """The config `name` of the workspace; UserError with the names there are when it is missing."""
    folder = workspace.configs / name
    if not any((folder / file).is_file() for file in ("train.toml", "dataset.toml")):
        names = workspace.config_names()
        there = f"There are: {', '.join(names)}" if names else "There is none yet"
        raise UserError(f"There is no config {name!r} in {workspace.configs}", f"{there}. Make one: config new NAME.")
    return Config.load(folder)


class Config:
    """The documents of one config folder. Changes stay in memory until `save`; `changed` names what differs."""

    def __init__(self, folder: Path, texts: Mapping[FileName, str] | None = None) -> None:
        """`texts` (by `train`, `dataset`, `prompts`) makes an unsaved config; see `load` for what is on disk."""
        self.folder = folder
        self.broken: dict[FileName, UserError] = {}
        """Files on disk that are not TOML: to be mended through `set_text`; `set` refuses them."""
        self.likely_script: str | None = None
        """The script that fits the base model, where somebody looked at that; see `script`."""
        self._unopened: dict[FileName, UserError] = {}
        self._disk: dict[FileName, bytes | None] = dict.fromkeys(FILES)
        self._text: dict[FileName, str] = dict.fromkeys(FILES, "")
        self._documents: dict[FileName, TOMLDocument] = {}
        self._values: dict[FileName, dict[str, Any]] = {}
        for file, text in (texts or {}).items():
            self.set_text(file, text)

    @classmethod
    def load(cls, folder: Path) -> Config:
        """Read the files of `folder`: a missing one is empty, a broken one is in `broken`. UserError when forbidden."""
        config = cls(folder)
        for file, name in FILES.items():
            path = folder / name
            try:
                raw = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UserError(f"Cannot read {path}: {error.strerror}", "Check its owner and permissions.") from error
            config._disk[file] = raw
            if len(raw) > 4 * LARGEST:
                config.broken[file] = config._unopened[file] = too_large(str(path), len(raw))
                continue
            try:
                text = raw.decode("utf-8")
                config._text[file] = text
                if file != "prompts":
                    config._values[file] = read_toml(text, str(path))
            except UnicodeDecodeError as error:
                line = raw.count(b"\n", 0, error.start) + 1
                config._text[file] = raw.decode("utf-8", "replace")
                kind = "UTF-16, not UTF-8" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
                config.broken[file] = UserError(
                    f"{path}, line {line}: this is {kind}", "Save the file as UTF-8; the trainer reads nothing else."
                )
            except UserError as error:
                config.broken[file] = error
        return config

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def train(self) -> TOMLDocument:
        """The document of train.toml; change it through `set`."""
        return self._document("train")

    @property
    def dataset(self) -> TOMLDocument:
        """The document of dataset.toml; change it through `set`."""
        return self._document("dataset")

    @property
    def prompts(self) -> str:
        return self._text["prompts"]

    @prompts.setter
    def prompts(self, text: str) -> None:
        self.set_text("prompts", text)

    def path(self, file: FileName) -> Path:
        """Where `train`, `dataset` or `prompts` lies."""
        return self.folder / FILES[file]

    def text(self, file: FileName) -> str:
        """The file as it would be saved now, but for a byte order mark."""
        return self._text[file].removeprefix("\ufeff")

    def set_text(self, file: FileName, text: str) -> None:
        """Replace the whole text, as a raw editor does.

        Raises UserError with line and column when it is not TOML, and for a file that is too large to be a config;
        then nothing changed.
        """
        if file in self._unopened:
            raise self._unopened[file]
        if file != "prompts":
            self._values[file] = read_toml(text, FILES[file])
        self._text[file] = text.removeprefix("\ufeff")
        self.broken.pop(file, None)
        self._documents.pop(file, None)

    @property
    def changed(self) -> frozenset[FileName]:
        """The files that `save` would write."""
        return frozenset(file for file in FILES if self._bytes(file) != self._disk[file])

    def has_bom(self, file: FileName) -> bool:
        """Whether the file begins with a byte order mark, which the next change removes."""
        return self._text[file].startswith("\ufeff")

    def changed_on_disk(self) -> frozenset[FileName]:
        """The files that somebody else changed since they were loaded."""
        return frozenset(file for file in FILES if _read(self.path(file)) != self._disk[file])

    def loaded(self, file: FileName) -> bytes | None:
        """The file as it was when it was last read or saved here; None when there was none."""
        return self._disk[file]

    def effective(self, file: FileName = "train") -> dict[str, Any]:
        """The values as the trainer sees them: train.toml flattened one level, the last of equal keys wins.

        `dataset` is returned as it is nested. A broken file gives nothing.
        """
        return flatten(self.plain(file)) if file == "train" else self.plain(file)

    def plain(self, file: FileName) -> dict[str, Any]:
        """The file's values as nested plain dicts and lists; empty for a broken file and for the prompts."""
        return copy.deepcopy(self._values_of(file))

    def _values_of(self, file: FileName) -> dict[str, Any]:
        """As `plain`, but the cached values themselves: a form asks a hundred times a frame."""
        if file in self.broken or file == "prompts":
            return {}
        if file not in self._values:
            self._values[file] = read_toml(self._text[file], FILES[file])
        return self._values[file]

    def get(self, file: FileName, key: str) -> Any:
        """The value of `key`, None when unset.

        In `dataset` a bare key is looked up where the trainer would for the first subset;
        `datasets[0].subsets[1].num_repeats` and `general.keep_tokens` name a place.
        """
        if file == "train":
            return copy.deepcopy(flatten(self._values_of("train")).get(key))
        return copy.deepcopy(places.value_of(self._values_of("dataset"), key))

    def home(self, key: str) -> FileName:
        """The file in which `key` is set, or belongs when it is not: `train` or `dataset`."""
        if places.named(key) is not None or self.get("dataset", key) is not None:
            return "dataset"
        if key in flatten(self._values_of("train")):
            return "train"
        return "dataset" if any(key in dataset_names(level) for level in LEVELS) else "train"

    def is_set(self, key: str) -> bool:
        """Whether one of the two files gives `key` a value."""
        return key in flatten(self._values_of("train")) or self.get("dataset", key) is not None

    def field(self, file: FileName, key: str) -> Field | None:
        """The facts of a key; None for one that the trainer does not know."""
        return fields(self.script).get(key) if file == "train" else places.field_of(key)

    @property
    def script(self) -> str:
        """The training script that this config is for: said by `# script: NAME` in train.toml, else the likely one."""
        found = SAID_SCRIPT.search(self._text["train"])
        return found[1] if found else self.likely_script or "train_network.py"

    def set(self, file: FileName, key: str, value: Any) -> None:
        """Set one value in place, in the kind that the trainer wants; None unsets it. UserError for a wrong kind.

        A new key goes behind the last one of its group, so that it lands in the section that has its neighbours.
        """
        if value is None:
            self.unset(file, key)
            return
        self._refuse_broken(file)
        value = coerce(value, self.field(file, key))
        if file == "train":
            set_option(self.train, fields(self.script), key, value)
        else:
            places.put(self.dataset, key, value)
        self._refresh(file)

    def unset(self, file: FileName, key: str) -> None:
        """Remove a key wherever the trainer would find it; nothing happens when it is not there."""
        self._refuse_broken(file)
        if file == "train":
            for container in holders_of(self.train, key):
                container.remove(key)
        else:
            places.remove(self.dataset, key)
        self._refresh(file)

    def save(self, journal: Journal | None = None, *, force: bool = False) -> EditGroup | None:
        """Write what changed, atomically; through `journal` as one undoable group, which is returned.

        Raises UserError when a file was changed by another program since it was loaded, unless `force` is set.
        """
        names = sorted(self.changed)
        foreign = sorted(self.changed_on_disk() & self.changed)
        if foreign and not force:
            raise UserError(
                f"{self.path(foreign[0])} was changed by another program since it was opened here",
                "Reload it and make your change again, or save over it.",
            )
        if not names:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        group: EditGroup | None = None
        if journal is None:
            from core.files import write_atomic

            for file in names:
                write_atomic(self.path(file), self._bytes(file) or b"")
        else:
            from core.dataset.edits import Edit

            edits = [Edit(self.path(file), _read(self.path(file)), self._bytes(file)) for file in names]
            is_new = all(data is None for data in self._disk.values())
            group = journal.apply(f"{'Make' if is_new else 'Change'} config {self.name}", edits, kind="config")
        for file in names:
            self._disk[file] = _read(self.path(file))
        return group

    def reload(self) -> None:
        """Take what is on disk now; changes in memory are gone."""
        fresh = Config.load(self.folder)
        self.broken, self._disk, self._text = fresh.broken, fresh._disk, fresh._text
        self._unopened = fresh._unopened
        self._documents, self._values = {}, fresh._values

    def _bytes(self, file: FileName) -> bytes | None:
        text, disk = self._text[file], self._disk[file]
        if disk is None and not text:
            return None
        if disk is not None and file in self.broken:
            return disk
        return text.encode("utf-8")

    def _document(self, file: FileName) -> TOMLDocument:
        if file not in self._documents:
            import tomlkit
            from tomlkit.exceptions import TOMLKitError

            text = "" if file in self.broken else self.text(file)
            try:
                self._documents[file] = tomlkit.parse(text)
            except (TOMLKitError, RecursionError) as error:
                raise UserError(f"{self.path(file)}: {error}", "Change it in the raw editor.") from error
        return self._documents[file]

    def _refresh(self, file: FileName) -> None:
        self._text[file] = _with_ends_of(self._text[file], self._document(file).as_string())
        self._values.pop(file, None)

    def _refuse_broken(self, file: FileName) -> None:
        if file in self.broken:
            raise self.broken[file]


def _with_ends_of(old: str, new: str) -> str:
    """`new`, in which lines that `old` has not end as most lines of `old` do."""
    if old.count("\r\n") * 2 <= old.count("\n"):
        return new
    bare = Counter(line for line in old.split("\n") if not line.endswith("\r"))
    lines = new.split("\n")
    for number, line in enumerate(lines[:-1]):
        if not line.endswith("\r"):
            if bare[line]:
                bare[line] -= 1
            else:
                lines[number] = line + "\r"
    return "\n".join(lines)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
