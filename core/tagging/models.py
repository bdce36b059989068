"""Tagger models: which are known, where their files lie, and how each wants its pixels.

A model is described, not coded (core.tagging.descriptors). Found in this order: `demo`, a folder, `--model_dir`, the
`wd14_tagger_model/` folders that sd-scripts left behind, the Hugging Face cache. Nothing here needs the network or
onnxruntime.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from core.problems import UserError
from core.settings import Settings
from core.tagging.descriptor_files import (
    FILE,
    LOCAL_FILE,
    is_revision,
    known,
    named_input,
    read_descriptors,
    read_local,
)
from core.tagging.descriptors import PIXELS
from core.tagging.descriptors import TaggerModel as TaggerModel
from core.tagging.repository_files import PREPROCESS, THRESHOLDS, with_own_facts

if TYPE_CHECKING:
    from core.workspace import Workspace

DEMO = "demo"
DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo" / "tagger"
SD_SCRIPTS_FOLDER = "wd14_tagger_model"


_LABELS = {
    "selected_tags.csv": "wd",
    "tags-selected.csv": "z3d",
    "tag_mapping.json": "cl",
    "model_vocabulary.json": "cl2",
    "camie-tagger-v2-metadata.json": "camie2",
    "model_initial_metadata.json": "camie1",
    "top_tags.txt": "joytag",
    "classes.json": "ml-danbooru",
}
"""Label files as the known models call them, with the input format of those."""
_EXTRAS = (PREPROCESS, THRESHOLDS, "categories.json")


def find_model(
    name: str | None,
    workspace: Workspace | None,
    settings: Settings,
    model_dir: Path | None = None,
    revision: str | None = None,
) -> TaggerModel:
    """The model `name` (None: the one in the settings), with its files where they are on disk.

    `revision` is a commit, tag or branch of its repository (None: the descriptor's, else `main`). Raises UserError
    when it can be neither a repository nor a folder with a model in it, and when a descriptor cannot be read.
    """
    name = (name or settings.tagger).strip()
    if name == DEMO:
        return _demo()
    for folder in _folders_named(name, workspace):
        if folder.is_dir():
            return _in_folder(name, folder)
    if revision is not None and not is_revision(revision):
        raise UserError(f"--revision {revision!r} is no commit, tag or branch", "Name one from the model's page.")
    model = _described(name, workspace)
    found = _located(replace(model, revision=revision or model.revision), workspace, settings, model_dir)
    return with_own_facts(found) if found.is_on_disk else found


def described_models(workspace: Workspace | None) -> tuple[TaggerModel, ...]:
    """Every descriptor, the workspace's and the user's before ours; a name with a `*` stands for many."""
    from core.settings import config_dir

    files = [config_dir() / FILE] if workspace is None else [workspace.root / FILE, config_dir() / FILE]
    own = [model for path in files if path.is_file() for model in read_descriptors(path)]
    return (*own, *known())


def _described(name: str, workspace: Workspace | None) -> TaggerModel:
    """The descriptor of a repository: the known one, or what its name says (three parts: cl_tagger's format, as
    sd-scripts; two: WD's).
    """
    parts = name.split("/")
    if len(parts) < 2 or name.startswith((".", "/", "~")) or not all(parts) or ".." in parts:
        raise UserError(
            f"There is no tagger model {name}",
            "Name a repository such as SmilingWolf/wd-swinv2-tagger-v3, a folder with model.onnx and "
            "selected_tags.csv, or `demo`. The known ones: kohya-tui models",
        )
    models = described_models(workspace)
    exact = next((model for model in models if model.name == name), None)
    if exact is not None:
        return exact
    like = next((model for model in models if "*" in model.name and fnmatchcase(name, model.name)), None)
    if like is not None:
        return replace(like, name=name)
    if len(parts) == 2:
        return TaggerModel(name, format=named_input("wd"), extras=_EXTRAS)
    below = "/".join(parts[2:])
    files = (f"{below}/model_optimized.onnx", f"{below}/tag_mapping.json")
    return TaggerModel(name, files=files, format=named_input("cl"))


def list_models(workspace: Workspace | None, settings: Settings) -> list[TaggerModel]:
    """The described taggers with their state on disk, the demo's and the one in the settings included.

    Raises UserError when a descriptor of the user's cannot be read.
    """
    named: dict[str, TaggerModel] = {}
    for model in described_models(workspace):
        if "*" not in model.name:
            named.setdefault(model.name, model)
    found = [_located(model, workspace, settings, None) for model in named.values()]
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

    prepared = repr((PIXELS, replace(model.format, by_probability=False))).replace(", mask=None", "")
    digest = hashlib.blake2b(prepared.encode(), digest_size=12)
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
    """Any folder with a model file and its labels: as its tagger.toml says, as the known model does that the folder is
    called after, or as the label file is usually fed.
    """
    model = read_local(folder, name) or TaggerModel(name, files=("", ""))
    is_described = (folder / LOCAL_FILE).is_file()
    onnx = _one_of_folder(folder, model.files[0], ("model.onnx", "model_optimized.onnx"), "*.onnx")
    labels = _one_of_folder(folder, model.files[1], tuple(_LABELS), "*metadata.json")
    if labels is None or onnx is None:
        missing = "a label file (selected_tags.csv, tag_mapping.json …)" if onnx else "a model file (*.onnx)"
        raise UserError(
            f"{folder} is no tagger model: it lacks {missing}", "Put both files into one folder and name it."
        )
    if not is_described:
        named = next((each for each in known() if folder.name in _folder_names(each)), None)
        kind = _LABELS.get(labels.name, "camie2")
        if named is not None and Path(named.files[1]).name == labels.name:
            model = named
        else:
            model = replace(named or model, format=named_input(kind), sidecars=(), extras=_EXTRAS, categories={})
    inner = (str(onnx.relative_to(folder)), str(labels.relative_to(folder)))
    sidecars = tuple(file if is_described else Path(file).name for file in model.sidecars)
    missing_files = [file for file in sidecars if not (folder / file).is_file()]
    if missing_files:
        raise UserError(f"{folder} is no tagger model: it lacks {missing_files[0]}", "Put all its files there.")
    model = replace(
        model,
        name=name,
        folder=folder,
        onnx=onnx,
        labels=labels,
        files=inner,
        sidecars=sidecars,
        revision=None,
        is_gated=False,
        is_local=True,
    )
    return with_own_facts(replace(model, bytes=_size_of(model)))


def _one_of_folder(folder: Path, said: str, usual: tuple[str, ...], pattern: str) -> Path | None:
    if said:
        return folder / said if (folder / said).is_file() else None
    found = [folder / file for file in usual if (folder / file).is_file()]
    return next(iter(found or sorted(folder.glob(pattern))), None)


def _folder_names(model: TaggerModel) -> tuple[str, ...]:
    """What a folder with a copy of the model is called: the last part of its name, or as sd-scripts does."""
    parts = model.name.split("/")
    return ("_".join(parts[:2]), parts[1]) if len(parts) == 2 else (parts[-1],)


def _size_of(model: TaggerModel) -> int:
    return sum(path.stat().st_size for path in model.paths if path != model.labels)


def _located(
    model: TaggerModel, workspace: Workspace | None, settings: Settings, model_dir: Path | None
) -> TaggerModel:
    subfolder = "/".join(model.name.split("/")[2:])
    for base in [model_dir] if model_dir is not None else _sd_scripts_folders(workspace, settings):
        root = base / local_folder(model)
        # As we download it (the files under their names in the repository), or as sd-scripts lays it out.
        located = _with_files(model, root, model.files) or _with_files(
            model, root / subfolder, [Path(file).name for file in model.files]
        )
        if located is not None:
            return located
    if model_dir is None:
        for snapshot in _snapshots(model.repo_id, model.revision):
            located = _with_files(model, snapshot, model.files)
            if located is not None:
                return located
    return model


def local_folder(model: TaggerModel) -> str:
    """The name of a repository's folder in a `wd14_tagger_model/`; sd-scripts knows no revisions."""
    flat = model.repo_id.replace("/", "_")
    return flat if model.revision is None else f"{flat}@{model.revision.replace('/', '--')}"


def _with_files(model: TaggerModel, folder: Path, files: list[str] | tuple[str, ...]) -> TaggerModel | None:
    onnx, labels = (folder / file for file in files)
    located = replace(model, folder=onnx.parent, onnx=onnx, labels=labels)
    if not all(path.is_file() for path in located.paths):
        return None
    return replace(located, bytes=_size_of(located))


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
