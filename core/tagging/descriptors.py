"""What a tagger model is, written down as data: its files, how it wants its pixels, what its outputs are.

Nothing here needs numpy, onnxruntime or the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

TAGGER_FILES = ("model.onnx", "selected_tags.csv")
"""What a repository in WD14 format holds: model file and label file."""
PIXELS = 1
"""Part of the key of stored scores: raise it when core.tagging.preprocess makes other pixels of the same file."""
WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class InputFormat:
    """How a model takes pixels and gives scores. Transparency becomes white for every model."""

    layout: str = "NHWC"
    """`NHWC` or `NCHW`."""
    channels: str = "BGR"
    scale: tuple[float, ...] = (1.0,)
    """The input is `pixel / scale + shift`, pixels 0..255: one number, or one per channel in `channels` order."""
    shift: tuple[float, ...] = (0.0,)
    fit: str = "pad"
    """`pad`: to a square, then resize; `squash`: stretch to the square; `pad-after`: resize the longer side, then
    pad (`letterbox`: the other side rounded to the nearest); `crop`: resize the shorter side, then cut the middle
    out.
    """
    align: tuple[int, str] | None = None
    """Side and filter of a padded square that the picture is fitted into before `fit` (imgutils' pad_to_size)."""
    pad: tuple[int, int, int] = WHITE
    """Red, green, blue of the padding."""
    resample: str = "area"
    """`area` (OpenCV's INTER_AREA downwards, Pillow's LANCZOS upwards, as sd-scripts), or Pillow's `bicubic`,
    `bilinear`, `lanczos`.
    """
    size: int | None = None
    """Side of the input where the model's own shape leaves it open; None = 448."""
    output: str | None = None
    """Name of the output with the scores, which the model must have; None = the first."""
    mask: str | None = None
    """Name of a second input, bool [N, S, S]: where there is padding and no picture (`letterbox`)."""
    is_logits: bool = False
    """The output still needs a sigmoid."""
    by_probability: bool = False
    """sd-scripts writes the tags of this format with the highest score first."""


WD = InputFormat()
"""SmilingWolf's models, v1.4 to v3: float32 NHWC, BGR, 0..255; the output is probabilities."""
CL = InputFormat(layout="NCHW", scale=(127.5,), shift=(-1.0,), is_logits=True, by_probability=True)
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
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """The author's own by category (Category.word), before `threshold`."""
    licence: str = "unknown"
    bytes: int | None = None
    """Size of the model file with its sidecars: on disk, or as announced."""
    note: str = ""
    files: tuple[str, ...] = TAGGER_FILES
    """Model file and label file inside the repository."""
    sidecars: tuple[str, ...] = ()
    """Further files of the repository without which the model does not work, such as `model.onnx.data`."""
    categories: Mapping[str, str] = field(default_factory=dict)
    """Meaning of the categories in the label file where they are not Danbooru's: number or word → Category.word."""
    extras: tuple[str, ...] = ()
    """Files that are fetched where the repository has them, such as `preprocess.json`."""
    revision: str | None = None
    """Commit, tag or branch of the repository; None = `main`."""
    is_gated: bool = False
    """The repository is only given to users who accepted its terms."""
    format: InputFormat = WD
    is_local: bool = False
    """A folder of the user's (or the demo's): there is nothing to download."""

    @property
    def is_on_disk(self) -> bool:
        return self.onnx is not None and self.labels is not None

    @property
    def again(self) -> str:
        """What helps when its files are damaged or do not belong together."""
        if self.is_local:
            return f"Copy its files into {self.folder} once more, or name another model."
        return "Download it again with --force_download, or name another model."

    @property
    def needed(self) -> tuple[str, ...]:
        """All files of the repository without which the model does not work: model, labels, sidecars."""
        return (*self.files, *self.sidecars)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Model file, label file and sidecars where they lie; empty while the model is not on disk."""
        if self.onnx is None or self.labels is None:
            return ()
        return (self.onnx, self.labels, *(self.beside(name) for name in self.sidecars))

    def beside(self, name: str) -> Path:
        """Where the file `name` of the repository lies when the model is on disk (sd-scripts' folders may lack the
        repository's subfolder). The label file is what it lies beside: `onnx` may be a converted copy elsewhere.
        """
        assert self.labels is not None
        inner, label = PurePath(name), PurePath(self.files[1])
        count = len(label.parts)
        if self.labels.parts[-count:] == label.parts:
            return self.labels.parents[count - 1] / inner
        return self.labels.parent / (inner.relative_to(label.parent) if inner.is_relative_to(label.parent) else inner)

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
            "thresholds": dict(self.thresholds),
            "licence": self.licence,
            "bytes": self.bytes,
            "gated": self.is_gated,
            "revision": self.revision,
            "note": self.note,
        }
