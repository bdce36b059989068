"""Tagger models: which are known, where their files lie, and how each wants its pixels.

A model is described, not coded: layout, channel order, scale, activation, label format. Found in this order: `demo`,
a folder, `--model_dir`, the `wd14_tagger_model/` folders that sd-scripts left behind, the Hugging Face cache. Nothing
here needs the network or onnxruntime.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.settings import Settings

if TYPE_CHECKING:
    from core.tagging.download import DownloadProgress
    from core.workspace import Workspace

TAGGER_FILES = ("model.onnx", "selected_tags.csv")
"""What a repository in WD14 format holds: model file and label file."""
DEMO = "demo"
DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo" / "tagger"
SD_SCRIPTS_FOLDER = "wd14_tagger_model"


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How a model takes pixels and gives scores."""

    layout: str = "NHWC"
    channels: str = "BGR"
    scale: float = 1.0
    """The input is `pixel / scale + shift`, pixels 0..255."""
    shift: float = 0.0
    is_logits: bool = False
    """The output still needs a sigmoid."""
    by_probability: bool = False
    """sd-scripts writes the tags of this format with the highest score first."""


WD = InputFormat()
"""SmilingWolf's models, v1.4 to v3: float32 NHWC, BGR, 0..255; the output is probabilities."""
CL = InputFormat(layout="NCHW", scale=127.5, shift=-1.0, is_logits=True, by_probability=True)
"""cella110n/cl_tagger: float32 NCHW, BGR, -1..1; the output is logits."""


@dataclass(frozen=True, slots=True)
class TaggerModel:
    """One tagger. `onnx` and `labels` are None while it is not on disk."""

    name: str
    folder: Path | None = None
    onnx: Path | None = None
    labels: Path | None = None
    threshold: float | None = None
    """The author's own (precision = recall), None where none was published."""
    licence: str = "unknown"
    bytes: int | None = None
    """Size of the model file: on disk, or as announced."""
    note: str = ""
    files: tuple[str, ...] = TAGGER_FILES
    """Model file and label file inside the repository."""
    format: InputFormat = WD
    is_local: bool = False
    """A folder of the user's (or the demo's): there is nothing to download."""

    @property
    def is_on_disk(self) -> bool:
        return self.onnx is not None and self.labels is not None

    @property
    def repo_id(self) -> str:
        """The repository's own name: `cella110n/cl_tagger` of `cella110n/cl_tagger/cl_tagger_1_02`."""
        return "/".join(self.name.split("/")[:2])

    def as_json(self) -> dict[str, Any]:
        """The keys of `kohya-tui models --json`."""
        return {
            "name": self.name,
            "on_disk": self.is_on_disk,
            "folder": None if self.folder is None else str(self.folder),
            "threshold": self.threshold,
            "licence": self.licence,
            "bytes": self.bytes,
            "note": self.note,
        }


def _wd(name: str, megabytes: int | None, threshold: float | None, note: str) -> TaggerModel:
    size = None if megabytes is None else megabytes * 10**6
    return TaggerModel(f"SmilingWolf/{name}", threshold=threshold, licence="Apache-2.0", bytes=size, note=note)


def _cl(version: str) -> TaggerModel:
    return TaggerModel(
        f"cella110n/cl_tagger/{version}",
        licence="see the model's page",
        note="EVA02-L with copyright, artist, meta and quality tags",
        files=(f"{version}/model_optimized.onnx", f"{version}/tag_mapping.json"),
        format=CL,
    )


KNOWN: tuple[TaggerModel, ...] = (
    _wd("wd-v1-4-convnext-tagger-v2", 388, 0.3685, "ConvNeXt; sd-scripts' default"),
    _wd("wd-v1-4-convnextv2-tagger-v2", 388, 0.3710, "ConvNeXtV2; kohya_ss' default"),
    _wd("wd-v1-4-swinv2-tagger-v2", None, 0.3771, "SwinV2"),
    _wd("wd-v1-4-moat-tagger-v2", None, 0.3771, "MOAT"),
    _wd("wd-v1-4-vit-tagger-v2", 373, 0.3537, "ViT-B"),
    _wd("wd-swinv2-tagger-v3", 467, 0.2653, "SwinV2, tags up to February 2024; good and quick"),
    _wd("wd-convnext-tagger-v3", 395, 0.2682, "ConvNeXt, tags up to February 2024"),
    _wd("wd-vit-tagger-v3", 379, 0.2614, "ViT-B, tags up to February 2024"),
    _wd("wd-vit-large-tagger-v3", 1260, 0.26, "ViT-L, tags up to February 2024"),
    _wd("wd-eva02-large-tagger-v3", 1260, 0.5296, "EVA02-L, tags up to February 2024; the best and slowest"),
    _cl("cl_tagger_1_02"),
    _cl("cl_tagger_1_01"),
)


def find_model(
    name: str | None, workspace: Workspace | None, settings: Settings, model_dir: Path | None = None
) -> TaggerModel:
    """The model `name` (None: the one in the settings), with its files where they are on disk.

    Raises UserError when it can be neither a repository nor a folder with a model in it.
    """
    name = (name or settings.tagger).strip()
    if name == DEMO:
        return _demo()
    for folder in _folders_named(name, workspace):
        if folder.is_dir():
            return _in_folder(name, folder)
    return _located(_described(name), workspace, settings, model_dir)


def _described(name: str) -> TaggerModel:
    """The descriptor of a repository: the known one, or what its name says (three parts: cl_tagger's format, as
    sd-scripts).
    """
    parts = name.split("/")
    if len(parts) < 2 or name.startswith((".", "/", "~")) or not all(parts):
        raise UserError(
            f"There is no tagger model {name}",
            "Name a repository such as SmilingWolf/wd-swinv2-tagger-v3, a folder with model.onnx and "
            "selected_tags.csv, or `demo`. The known ones: kohya-tui models",
        )
    known = next((model for model in KNOWN if model.name == name), None)
    return known or (TaggerModel(name) if len(parts) == 2 else replace(_cl("/".join(parts[2:])), name=name, note=""))


def download(
    repo_id: str, files: Sequence[str] = TAGGER_FILES, *, folder: Path | None = None, force: bool = False
) -> Generator[DownloadProgress, None, None]:
    """Fetch a tagger (its own two files, whatever they are called), or other `files` of any repository.

    As core.tagging.download.fetch.
    """
    from core.tagging.download import fetch

    if tuple(files) == TAGGER_FILES:
        model = _described(repo_id)
        repo_id, files = model.repo_id, model.files
    return fetch(repo_id, files, folder=folder, force=force)


def list_models(workspace: Workspace | None, settings: Settings) -> list[TaggerModel]:
    """The known taggers with their state on disk, the demo's and the one in the settings included."""
    found = [_located(model, workspace, settings, None) for model in KNOWN]
    if (DEMO_FOLDER / "model.onnx").is_file():
        found.append(_demo())
    if settings.tagger not in {model.name for model in found}:
        try:
            found.append(find_model(None, workspace, settings))
        except UserError:
            found.append(TaggerModel(settings.tagger, note="named in the settings, not found"))
    return found


def fingerprint(path: Path) -> str:
    """Identity of a model file for stored scores: BLAKE2b of its size and of 1 MiB at its start, middle and end.

    The whole of a 1.3-GB file would take a second or two at every start.
    """
    import hashlib

    chunk = 1 << 20
    digest = hashlib.blake2b(digest_size=12)
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        digest.update(str(size).encode())
        for offset in sorted({0, max(size // 2 - chunk // 2, 0), max(size - chunk, 0)}):
            stream.seek(offset)
            digest.update(stream.read(chunk))
    return digest.hexdigest()


def hub_cache() -> Path:
    """Where huggingface_hub keeps its downloads, without importing it (0.5 s)."""
    environment = os.environ
    if explicit := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(explicit).expanduser()
    cache = Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(environment.get("HF_HOME") or cache).expanduser() / "hub"


def _demo() -> TaggerModel:
    return replace(
        _in_folder(DEMO, DEMO_FOLDER), licence="Apache-2.0", threshold=0.35, note="made for the demo's drawings only"
    )


def _folders_named(name: str, workspace: Workspace | None) -> list[Path]:
    written = Path(name).expanduser()
    found = [written.absolute()]
    if workspace is not None and not written.is_absolute():
        found += [workspace.root / written, workspace.models / written]
    return found


def _in_folder(name: str, folder: Path) -> TaggerModel:
    """Any folder with a model file and its labels; the label format decides how the model is fed."""
    labels = next(
        (folder / file for file in ("selected_tags.csv", "tag_mapping.json") if (folder / file).is_file()), None
    )
    named = [folder / file for file in ("model.onnx", "model_optimized.onnx") if (folder / file).is_file()]
    models = named or sorted(folder.glob("*.onnx"))
    if labels is None or not models:
        missing = "a label file (selected_tags.csv or tag_mapping.json)" if models else "a model file (*.onnx)"
        raise UserError(
            f"{folder} is no tagger model: it lacks {missing}", "Put both files into one folder and name it."
        )
    known = next((model for model in KNOWN if model.name.replace("/", "_", 1).endswith(folder.name)), TaggerModel(name))
    return replace(
        known,
        name=name,
        folder=folder,
        onnx=models[0],
        labels=labels,
        bytes=models[0].stat().st_size,
        files=(models[0].name, labels.name),
        format=CL if labels.suffix == ".json" else WD,
        is_local=True,
    )


def _located(
    model: TaggerModel, workspace: Workspace | None, settings: Settings, model_dir: Path | None
) -> TaggerModel:
    subfolder = "/".join(model.name.split("/")[2:])
    flat = model.repo_id.replace("/", "_")
    for base in [model_dir] if model_dir is not None else _sd_scripts_folders(workspace, settings):
        located = _with_files(model, base / flat / subfolder, [Path(file).name for file in model.files])
        if located is not None:
            return located
    if model_dir is None:
        for snapshot in _snapshots(model.repo_id):
            located = _with_files(model, snapshot, model.files)
            if located is not None:
                return located
    return model


def _with_files(model: TaggerModel, folder: Path, files: list[str] | tuple[str, ...]) -> TaggerModel | None:
    onnx, labels = (folder / file for file in files)
    if not (onnx.is_file() and labels.is_file()):
        return None
    return replace(model, folder=onnx.parent, onnx=onnx, labels=labels, bytes=onnx.stat().st_size)


def _sd_scripts_folders(workspace: Workspace | None, settings: Settings) -> list[Path]:
    roots = [Path.cwd()]
    if workspace is not None:
        roots += [workspace.root, workspace.models]
    if settings.sd_scripts is not None:
        roots += [settings.sd_scripts, settings.sd_scripts.parent]
    return [root / SD_SCRIPTS_FOLDER for root in dict.fromkeys(roots)]


def _snapshots(repo_id: str) -> list[Path]:
    """The cached revisions of a repository, the one that `main` pointed to first."""
    folder = hub_cache() / f"models--{repo_id.replace('/', '--')}"
    found = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found.append(folder / "snapshots" / (folder / "refs" / "main").read_text("utf-8").strip())
    with contextlib.suppress(OSError):
        found += sorted((folder / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    return list(dict.fromkeys(found))
