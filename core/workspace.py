"""The folder layout of a workspace: find, create and list what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.files import natural_key, write_atomic
from core.problems import UserError
from core.settings import FORMAT, WORKSPACE_FILE

FOLDERS = ("train_data", "configs", "models", "runs", "output")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder that a user works in. `root` is absolute and resolved."""

    root: Path

    @property
    def settings_file(self) -> Path:
        return self.root / WORKSPACE_FILE

    @property
    def train_data(self) -> Path:
        return self.root / "train_data"

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def own(self) -> Path:
        """`.kohya-tui/`: journal, trash, marks and scores."""
        return self.root / ".kohya-tui"

    @property
    def lock_file(self) -> Path:
        return self.own / "lock"

    def dataset_names(self) -> list[str]:
        """The folders of `train_data/` in natural order; hidden ones left out."""
        return _folders(self.train_data)

    def config_names(self) -> list[str]:
        """The folders of `configs/` that hold a train.toml or a dataset.toml."""
        return [
            name
            for name in _folders(self.configs)
            if any((self.configs / name / file).exists() for file in ("train.toml", "dataset.toml"))
        ]

    def key_of(self, path: Path) -> str:
        """Identity of a file: its path relative to the workspace with `/`, or absolute when it lies outside."""
        try:
            return path.absolute().relative_to(self.root).as_posix()
        except ValueError:
            return path.absolute().as_posix()


def find(start: Path) -> Workspace | None:
    """The nearest folder from `start` upwards with a kohya-tui.toml, else None."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / WORKSPACE_FILE).is_file():
            return Workspace(folder.resolve())
    return None


def open_workspace(folder: Path | None = None) -> Workspace:
    """The workspace named by `-C`, or the nearest one from the current folder upwards.

    A kohya_ss folder with `train_data/` counts as it is. Raises UserError when there is none.
    """
    start = folder if folder is not None else Path.cwd()
    if not start.is_dir():
        raise UserError(
            f"There is no folder {start}", "Check the path after -C, or make a workspace there: kohya-tui init DIR"
        )
    found = (
        find(start) if folder is None else (Workspace(start.resolve()) if (start / WORKSPACE_FILE).is_file() else None)
    )
    if found is not None:
        return found
    if (start / "train_data").is_dir():
        return Workspace(start.resolve())
    raise UserError(
        f"{start} is not a workspace (no {WORKSPACE_FILE} and no train_data/ in it)",
        "Make one: kohya-tui init, or try the demo: kohya-tui demo",
    )


def create(folder: Path) -> Workspace:
    """Make a workspace around what is in `folder`; whatever exists stays as it is, a second time changes nothing."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder", "Name a folder for the workspace.")
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / ".kohya-tui").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot make a workspace in {folder}: {error.strerror}", "Choose a folder that you may write."
        ) from error
    workspace = Workspace(folder.resolve())
    if not workspace.settings_file.exists():
        write_atomic(
            workspace.settings_file,
            "# Settings of this workspace; the user's own file is shown by `kohya-tui doctor`.\n"
            f"version = {FORMAT}\n"
            '# trigger = "rinni"       # first tag of every caption\n'
            '# tagger = "SmilingWolf/wd-v1-4-convnext-tagger-v2"\n',
        )
    return workspace


def _folders(parent: Path) -> list[str]:
    try:
        names = [entry.name for entry in parent.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
    return sorted(names, key=natural_key)
