"""Tagger models: which are known, where their files lie, and how each wants its pixels.

A model is described, not coded: layout, channel order, scale, activation, label format. Found in this order: `demo`,
a folder, `--model_dir`, the `wd14_tagger_model/` folders that sd-scripts left behind, the Hugging Face cache. Nothing
here needs the network or onnxruntime.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError
from core.settings import Settings
from core.tagging.descriptors import CL, TAGGER_FILES, WD
from core.tagging.descriptors import TaggerModel as TaggerModel

if TYPE_CHECKING:
    from core.tagging.download import DownloadProgress
    from core.workspace import Workspace

DEMO = "demo"
DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo" / "tagger"
SD_SCRIPTS_FOLDER = "wd14_tagger_model"


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
    name: str | None,
    workspace: Workspace | None,
    settings: Settings,
    model_dir: Path | None = None,
    revision: str | None = None,
) -> TaggerModel:
    """The model `name` (None: the one in the settings), with its files where they are on disk.

    `revision` is a commit, tag or branch of its repository (None: the descriptor's, else `main`).

    Raises UserError when it can be neither a repository nor a folder with a model in it.
    """
    name = (name or settings.tagger).strip()
    if name == DEMO:
        return _demo()
    for folder in _folders_named(name, workspace):
        if folder.is_dir():
            return _in_folder(name, folder)
    model = _described(name)
    return _located(replace(model, revision=revision or model.revision), workspace, settings, model_dir)


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


def score_key(model: TaggerModel) -> str:
    """Identity of the scores of a model that is on disk: its files with their sidecars, its labels, how pixels are
    prepared. Other scores, other key.
    """
    import hashlib

    from core.tagging.preprocess import VERSION

    digest = hashlib.blake2b(repr((VERSION, replace(model.format, by_probability=False))).encode(), digest_size=12)
    for path in model.paths:
        digest.update(fingerprint(path).encode())
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
        for snapshot in _snapshots(model.repo_id, model.revision):
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


def _snapshots(repo_id: str, revision: str | None) -> list[Path]:
    """The cached revisions of a repository: the one asked for, or the one that `main` pointed to and then any other."""
    folder = hub_cache() / f"models--{repo_id.replace('/', '--')}"
    found = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found.append(folder / "snapshots" / (folder / "refs" / (revision or "main")).read_text("utf-8").strip())
    if revision is not None:
        return [*found, folder / "snapshots" / revision]
    with contextlib.suppress(OSError):
        found += sorted((folder / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    return list(dict.fromkeys(found))
