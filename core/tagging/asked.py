"""What a tag run was asked for by its spec.json, and what a signal asked of it meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from core.files import read_json
from core.problems import UserError
from core.tagging.listing import find_images, wanted
from core.text import count_of, printable
from core.workspace import Workspace


class Stop:
    """What a signal asked. Before the first image it ends the process, from then on the loop looks at `asked`."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_tagging = False
        self.event = threading.Event()

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def asked(self) -> bool:
        return self.signal is not None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None or not self.is_tagging:
            os._exit(
                128 + number
            )  # no unwinding: threads may sit in the model for seconds; the journal recovers its group
        self.signal = number
        self.event.set()


@dataclass(frozen=True, slots=True)
class Job:
    """What spec.json asks for. `images` maps every image to the name that `--output_path` gives it, in order."""

    run_dir: Path
    spec: dict[str, Any]
    workspace: Workspace | None
    images: dict[Path, str]
    skipped: int

    @classmethod
    def read(cls, run_dir: Path) -> Job:
        """Raises UserError when there is no such spec, and when there is no image."""
        spec = (read_json(run_dir / "spec.json") or {}).get("tag")
        if not isinstance(spec, dict):
            raise UserError(
                f"{run_dir / 'spec.json'} describes no tag run", "Start it again: kohya-tui tag DATASET-OR-DIR"
            )
        return cls.of(spec, run_dir)

    @classmethod
    def of(cls, spec: dict[str, Any], run_dir: Path) -> Job:
        """The job of a request's `run_spec`. Raises UserError when there is no image."""
        workspace = Workspace(Path(spec["workspace"])) if spec.get("workspace") else None
        listed = _listed(spec)
        kept = listed
        if not spec["options"].get("output_path"):
            extension = spec["options"].get("caption_extension") or ".txt"
            chosen = wanted(listed, spec.get("policy") or "overwrite", extension, spec.get("trigger_words") or ())
            kept = {image: listed[image] for image in chosen}
        return cls(run_dir, spec, workspace, kept, len(listed) - len(kept))

    @property
    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = self.spec["options"]
        return options

    @property
    def extension(self) -> str:
        return self.options.get("caption_extension") or ".txt"

    @property
    def policy(self) -> str:
        return self.spec.get("policy") or "overwrite"

    @property
    def folders(self) -> set[Path]:
        """Where the run reads and writes: no other one may do so meanwhile."""
        inside = {os.path.dirname(image) for image in self.images}  # noqa: PTH120 (a Path each costs 5 us an image)
        return {Path(folder) for folder in self.spec["folders"]} | set(map(Path, inside))

    @property
    def label(self) -> str:
        """What the history shows."""
        return f"Tag {self.spec.get('target') or count_of(len(self.images), 'image')}"


def say(text: str) -> None:
    """One line of the log, made safe to show. A full disk costs the line and not the run."""
    with contextlib.suppress(OSError):
        print(printable(text), flush=True)


def _listed(spec: dict[str, Any]) -> dict[Path, str]:
    """Every image with its name in the output file ("" without one), in order. Raises UserError when there is none."""
    found: dict[Path, str] = {}
    folders = [Path(folder) for folder in spec.get("folders") or ()]
    written = spec.get("names") or [str(folder) for folder in folders]
    options = spec["options"] = dict(spec.get("options") or {})
    is_named = bool(options.get("output_path"))
    for folder, name in zip(folders, written, strict=True):
        if not folder.is_dir():
            raise UserError(f"The folder {folder} does not exist (any more)", "Name a dataset or a folder with images.")
        is_recursive, is_compat = bool(options.get("recursive")), bool(options.get("sd_compat"))
        for image in find_images(folder, recursive=is_recursive, sd_compat=is_compat):
            found.setdefault(image, str(Path(name) / image.relative_to(folder)) if is_named else "")
    if not found:
        where = ", ".join(map(str, folders)) or "(no folder)"
        raise UserError(f"There are no images in {where}", "For images in its subfolders add --recursive.")
    return found
