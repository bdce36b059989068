"""Checks of what was cached beside the pictures: latents and text encoder outputs, which the trainer trusts blindly."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.check_options import error, first_names, warning
from core.problems import Problem
from core.text import count_of

if TYPE_CHECKING:
    from core.config.survey import Captions, FolderFacts
    from core.workspace import Workspace

LATENTS: Mapping[str, str] = {
    "train_network.py": "_sd.npz",
    "sdxl_train_network.py": "_sdxl.npz",
    "flux_train_network.py": "_flux.npz",
    "sd3_train_network.py": "_sd3.npz",
    "lumina_train_network.py": "_lumina.npz",
    "hunyuan_image_train_network.py": "_hi.npz",
    "anima_train_network.py": "_anima.npz",
}
"""Script → how the names of its latents end, behind the picture's name and size (library/strategy_*.py)."""
TEXTS: Mapping[str, str] = {
    "sdxl_train_network.py": "_te_outputs.npz",
    "flux_train_network.py": "_flux_te.npz",
    "sd3_train_network.py": "_sd3_te.npz",
    "lumina_train_network.py": "_lumina_te.npz",
    "hunyuan_image_train_network.py": "_hi_te.npz",
    "anima_train_network.py": "_anima_te.npz",
}
_SIZE = re.compile(r"(.+)_(\d{4,5})x(\d{4,5})$")
_END = b"PK\x05\x06"
_DELETE = "Delete these .npz files; the trainer makes them again."


def check_caches(
    facts: FolderFacts, known: Captions, workspace: Workspace, train: Mapping[str, Any], script: str
) -> Iterator[Problem]:
    """The .npz files of one folder that this training would read, by time, size and end; none is opened as a whole.

    Sizes are taken from the names of latents even where none are read (train_util.py, load_dreambooth_dir).
    """
    if not facts.remembered("caches", lambda: any(name.endswith(".npz") for name in facts.listing)):
        return
    where, folder = workspace.key_of(facts.path), facts.path
    reads_latents = train.get("cache_latents_to_disk") is True
    reads_texts = train.get("cache_text_encoder_outputs_to_disk") is True
    latents, texts = LATENTS.get(script, LATENTS["train_network.py"]), TEXTS.get(script)
    try:
        with os.scandir(folder) as entries:
            caches = {entry.name: entry.stat() for entry in entries if entry.name.endswith(".npz")}
    except OSError:
        return
    place = {name[: name.rindex(".")]: at for at, name in enumerate(facts.images)}
    old_latents, other_size, old_texts, broken = [], [], [], []
    for name, stat in caches.items():
        if name.endswith(latents) and (match := _SIZE.fullmatch(name.removesuffix(latents))) and match[1] in place:
            at = place[match[1]]
            if facts.times[at] > stat.st_mtime_ns:
                if reads_latents:
                    old_latents.append(name)
                elif facts.size(at) not in (None, (int(match[2]), int(match[3]))):
                    other_size.append(name)
            if reads_latents and not _is_whole(folder / name, stat.st_size):
                broken.append(name)
        elif reads_texts and texts is not None and name.endswith(texts):
            stem = name.removesuffix(texts)
            if stem in place:
                if known.times[place[stem]] > stat.st_mtime_ns:
                    old_texts.append(name)
                if not _is_whole(folder / name, stat.st_size):
                    broken.append(name)
    if old_latents:
        message = f"{count_of(len(old_latents), 'cached picture')} older than the picture: the old content is trained"
        yield warning("KT136", where, f"{message}: {first_names(old_latents)}", _DELETE)
    if other_size:
        message = (
            f"{count_of(len(other_size), 'picture')} sorted by the size of an old cache: {first_names(other_size)}"
        )
        yield warning("KT136", where, message, _DELETE)
    if old_texts:
        message = f"{count_of(len(old_texts), 'cached caption')} older than the caption: the old text is trained"
        yield warning("KT137", where, f"{message}: {first_names(old_texts)}", _DELETE)
    if broken:
        message = f"{count_of(len(broken), 'cache file')} damaged, at which the trainer stops: {first_names(broken)}"
        yield error("KT138", where, message, _DELETE)


def _is_whole(path: Path, size: int) -> bool:
    """Whether it ends as a zip file does (an .npz has no comment); what cannot be opened is not judged."""
    if size < 22:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return os.pread(descriptor, 4, size - 22) == _END
    finally:
        os.close(descriptor)
