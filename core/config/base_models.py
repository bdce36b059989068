"""The base models of a workspace, known from the first kilobytes of each file; no weight is read."""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.files import natural_key

if TYPE_CHECKING:
    from core.settings import Settings
    from core.workspace import Workspace

_HEADER_LIMIT = 100_000_000  # the format's own limit
_PRECISION = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
SCRIPTS: Mapping[str, str] = {
    "SD1.5": "train_network.py",
    "SD2": "train_network.py",
    "SDXL": "sdxl_train_network.py",
    "SD3": "sd3_train_network.py",
    "FLUX.1": "flux_train_network.py",
    "Chroma": "flux_train_network.py",
    "Lumina 2": "lumina_train_network.py",
    "HunyuanImage 2.1": "hunyuan_image_train_network.py",
    "Anima": "anima_train_network.py",
    "demo": "train_network.py",
}
"""Architecture → the script that trains a LoRA for it. What is not in here (a VAE, a LoRA) is no base model."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One model file, or diffusers folder. What the header does not tell is None; `problem` says why it is unread."""

    path: Path
    bytes: int
    architecture: str | None
    prediction: str | None
    """`epsilon`, `v` or `flow`."""
    precision: str | None
    """Of most of the weights: fp32, fp16, bf16, fp8."""
    problem: str | None = None

    def as_json(self, workspace: Workspace | None = None) -> dict[str, Any]:
        return {
            "path": workspace.key_of(self.path) if workspace is not None else str(self.path),
            "bytes": self.bytes,
            "architecture": self.architecture,
            "prediction": self.prediction,
            "precision": self.precision,
            "script": SCRIPTS.get(self.architecture or ""),
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class UsualModel:
    """A base model that people train anime characters on, and where it is published."""

    title: str
    repo: str
    file: str
    architecture: str
    prediction: str
    gigabytes: float


USUAL: tuple[UsualModel, ...] = (
    UsualModel(
        "Stable Diffusion 1.5 (fp16)",
        "Comfy-Org/stable-diffusion-v1-5-archive",
        "v1-5-pruned-emaonly-fp16.safetensors",
        "SD1.5",
        "epsilon",
        2.1,
    ),
    UsualModel(
        "Stable Diffusion XL 1.0",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "sd_xl_base_1.0.safetensors",
        "SDXL",
        "epsilon",
        6.9,
    ),
    UsualModel(
        "Illustrious XL 0.1",
        "OnomaAIResearch/Illustrious-xl-early-release-v0",
        "Illustrious-XL-v0.1.safetensors",
        "SDXL",
        "epsilon",
        6.9,
    ),
    UsualModel(
        "Illustrious XL 2.0",
        "OnomaAIResearch/Illustrious-XL-v2.0",
        "Illustrious-XL-v2.0.safetensors",
        "SDXL",
        "epsilon",
        6.9,
    ),
    UsualModel("NoobAI XL 1.1", "Laxhar/noobai-XL-1.1", "NoobAI-XL-v1.1.safetensors", "SDXL", "epsilon", 7.1),
    UsualModel(
        "NoobAI XL 1.0 v-pred",
        "Laxhar/noobai-XL-Vpred-1.0",
        "NoobAI-XL-Vpred-v1.0.safetensors",
        "SDXL",
        "v",
        7.1,
    ),
    UsualModel(
        "Animagine XL 4.0", "cagliostrolab/animagine-xl-4.0", "animagine-xl-4.0.safetensors", "SDXL", "epsilon", 6.9
    ),
)


def list_models(workspace: Workspace, settings: Settings | None = None) -> list[BaseModel]:
    """Every .safetensors, .sft and .ckpt below `models/`, and every diffusers folder, in natural order.

    LoRAs, VAEs and text encoders are listed too, with what they are as architecture: `SCRIPTS` tells base models.
    """
    return [inspect(path) for path in sorted(_files(workspace.models), key=lambda path: natural_key(str(path)))]


def inspect(path: Path) -> BaseModel:
    """What the header of one model tells; never raises."""
    if path.is_dir():
        return _diffusers(path)
    try:
        size = path.stat().st_size
        if path.suffix not in {".safetensors", ".sft"}:
            return _pickled(path, size)
        header = read_header(path, size)
    except OSError as error:
        return BaseModel(path, 0, None, None, None, f"cannot be read: {error.strerror or error}")
    except ValueError as error:
        return BaseModel(path, size, None, None, None, str(error))
    metadata = header.pop("__metadata__", None)
    metadata = metadata if isinstance(metadata, dict) else {}
    architecture = architecture_of(header, metadata)
    return BaseModel(path, size, architecture, _prediction(header, metadata, architecture), precision_of(header))


def read_header(path: Path, size: int | None = None) -> dict[str, Any]:
    """The header of a safetensors file: tensor → dtype, shape, offsets. ValueError with a sentence when damaged."""
    size = path.stat().st_size if size is None else size
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise ValueError("the file is empty or cut off")
        length = struct.unpack("<Q", start)[0]
        if start[:1] == b"<" or start[:7] == b"version":
            raise ValueError("this is a web page or a git-lfs pointer, not a model: download it again")
        if length > _HEADER_LIMIT or length + 8 > size:
            raise ValueError("the header is damaged or the download was cut off")
        try:
            header = json.loads(stream.read(length))
        except ValueError:
            raise ValueError("the header is damaged") from None
    if not isinstance(header, dict):
        raise ValueError("the header is damaged")
    end = max((_end(value) for name, value in header.items() if name != "__metadata__"), default=0)
    if end + length + 8 > size:
        missing = end + length + 8 - size
        raise ValueError(f"the file is cut off: {missing:,} bytes are missing, download it again")
    return header


def architecture_of(keys: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    """The architecture by the names (and one shape) of the tensors; None when it is none that is known."""
    if metadata.get("modelspec.architecture") == "kohya-tui-demo":
        return "demo"
    names = {name.removeprefix("model.diffusion_model.").removeprefix("net.") for name in keys}
    starts = {name.split(".", 1)[0] for name in names}
    if any(name.startswith(_LORA_STARTS) or name.endswith(_LORA_ENDS) for name in names):
        return "LoRA"
    if "double_blocks" in starts:
        if any(name.startswith("byt5_in.") for name in names):
            return "HunyuanImage 2.1"
        return "Chroma" if "distilled_guidance_layer" in starts else "FLUX.1"
    if {"transformer_blocks", "single_transformer_blocks"} <= starts:
        return "FLUX.1"  # named as diffusers does
    if "joint_blocks" in starts:
        return "SD3"
    if "llm_adapter" in starts or {"x_embedder", "blocks", "t_embedding_norm"} <= starts:
        return "Anima"
    if {"cap_embedder", "noise_refiner", "context_refiner"} <= starts:
        return "Lumina 2"
    if "conditioner" in starts:
        return "SDXL"
    if "input_blocks" in starts:
        width = next((_shape(keys[name])[-1] for name in keys if name.endswith("attn2.to_k.weight")), None)
        if width == 0:  # a .ckpt, whose shapes are not read
            return "SD2" if any(name.startswith("cond_stage_model.model.") for name in names) else "SD1.5"
        return {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}.get(width or 0)
    return part_of(keys, starts)


_LORA_STARTS = ("lora_unet_", "lora_te", "lora_transformer")
_LORA_ENDS = (
    *(".lora_down.weight", ".lora_up.weight", ".lora_A.weight", ".lora_B.weight"),
    *(".hada_w1_a", ".lokr_w1", ".lokr_w1_a", ".oft_blocks", ".oft_diag", ".dora_scale"),
)
_T5_WIDTHS = {4096: "T5-XXL", 1472: "ByT5"}
_LLM_WIDTHS = {2304: "Gemma 2"}
PARTS: frozenset[str] = frozenset(
    {"VAE", "CLIP-L", "CLIP-G", "T5-XXL", "ByT5", "Gemma 2", "Qwen3", "Qwen2.5-VL", "text encoder"}
)
"""What `architecture_of` calls files that stand beside a base model."""


def part_of(keys: Mapping[str, Any], starts: Collection[str]) -> str | None:
    """Which VAE or text encoder these tensors are, by their names and widths; None for neither."""
    if "text_model" in starts or any(name.startswith("transformer.text_model.") for name in keys):
        width = _width(keys, "encoder.layers.0.self_attn.q_proj.weight")
        return {768: "CLIP-L", 1280: "CLIP-G"}.get(width, "text encoder")
    if "shared" in starts or any(name.startswith("encoder.block.") for name in keys):
        width = _width(keys, "encoder.block.0.layer.0.SelfAttention.q.weight") or _width(keys, "shared.weight")
        return _T5_WIDTHS.get(width, "text encoder")
    if any(name.endswith("layers.0.self_attn.q_proj.weight") for name in keys):
        if any(".visual." in f".{name}" for name in keys):
            return "Qwen2.5-VL"
        if any(name.endswith("layers.0.self_attn.q_norm.weight") for name in keys):
            return "Qwen3"
        return _LLM_WIDTHS.get(_width(keys, "layers.0.self_attn.q_proj.weight"), "text encoder")
    if {*starts} & {"first_stage_model", "decoder", "encoder"} and any("decoder." in name for name in keys):
        return "VAE"
    return None


def _width(keys: Mapping[str, Any], ending: str) -> int:
    """The last dimension of the first tensor whose name ends so; 0 when there is none."""
    name = next((name for name in keys if name.endswith(ending)), None)
    return _shape(keys[name])[-1] if name is not None else 0


def _pickled(path: Path, size: int) -> BaseModel:
    """A .ckpt: the names in its list of contents, as text. Nothing is unpickled, since that can run code."""
    if not size:
        return BaseModel(path, size, None, None, None, "the file is empty")
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((each for each in archive.namelist() if each.endswith("data.pkl")), None)
            if name is None or archive.getinfo(name).file_size > _HEADER_LIMIT:
                raise zipfile.BadZipFile
            listing = archive.read(name)
    except (zipfile.BadZipFile, OSError, RuntimeError, EOFError, zlib.error, NotImplementedError):
        return BaseModel(path, size, None, None, None, "an old kind of .ckpt, or a damaged one: it is not looked into")
    names = set(_strings(listing))
    architecture = architecture_of(dict.fromkeys(names), {})
    prediction = _prediction(dict.fromkeys(names), {}, architecture)
    kinds = Counter(found.decode() for found in _STORAGE.findall(listing))
    usual = kinds.most_common(1)[0][0] if kinds else ""
    return BaseModel(path, size, architecture, prediction, _STORED.get(usual))


def _strings(listing: bytes) -> Iterator[str]:
    """The texts in a pickle that look like names of tensors: BINUNICODE and SHORT_BINUNICODE, length first."""
    for found in _TEXT.finditer(listing):
        length = int.from_bytes(found[1], "little") if found[1] is not None else found[2][0]
        text = listing[found.end() : found.end() + length]
        if len(text) == length and _NAME.fullmatch(text):
            yield text.decode()


_TEXT = re.compile(rb"X(?=(..)\x00\x00).{4}|\x8c(.)", re.DOTALL)
_NAME = re.compile(rb"[A-Za-z_]\w*(?:\.\w+)+", re.ASCII)
_STORAGE = re.compile(rb"(HalfStorage|FloatStorage|BFloat16Storage)")
_STORED = {"HalfStorage": "fp16", "FloatStorage": "fp32", "BFloat16Storage": "bf16"}


def _end(value: Any) -> int:
    offsets = value.get("data_offsets") if isinstance(value, dict) else None
    return offsets[1] if isinstance(offsets, list) and len(offsets) == 2 and isinstance(offsets[1], int) else 0


def _shape(value: Any) -> list[int]:
    shape = value.get("shape") if isinstance(value, dict) else None
    return shape if isinstance(shape, list) and shape else [0]


def _prediction(keys: Mapping[str, Any], metadata: Mapping[str, Any], architecture: str | None) -> str | None:
    if architecture not in SCRIPTS:
        return None
    said = str(metadata.get("modelspec.prediction_type", "")).lower()
    if "v_pred" in keys or said.startswith("v"):
        return "v"
    if architecture in {"SD3", "FLUX.1", "Chroma", "Lumina 2", "HunyuanImage 2.1", "Anima"}:
        return "flow"
    return None if architecture == "SD2" and not said else "epsilon"


def precision_of(keys: Mapping[str, Any]) -> str | None:
    """The kind of number that most of the bytes are."""
    counts: Counter[str] = Counter()
    for value in keys.values():
        if isinstance(value, dict):
            offsets = value.get("data_offsets")
            if isinstance(offsets, list) and len(offsets) == 2 and isinstance(value.get("dtype"), str):
                counts[value["dtype"]] += offsets[1] - offsets[0]
    if not counts:
        return None
    name = counts.most_common(1)[0][0]
    return _PRECISION.get(name, name.lower())


def _diffusers(folder: Path) -> BaseModel:
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
        kind = str(index.get("_class_name", ""))
        size = sum(item.stat().st_size for item in folder.rglob("*") if item.is_file())
    except (OSError, ValueError, AttributeError):
        return BaseModel(folder, 0, None, None, None, "its model_index.json is damaged")
    architecture = (
        "SDXL" if "XL" in kind else "SD3" if "Diffusion3" in kind else "FLUX.1" if "Flux" in kind else "SD1.5"
    )
    return BaseModel(folder, size, architecture, None, None)


def _files(folder: Path) -> Iterator[Path]:
    """Model files below `folder`; links are followed, but no folder is entered twice."""
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        facts = Path(place).stat()
        if (facts.st_dev, facts.st_ino) in seen or Path(place).name.startswith("."):
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        if "model_index.json" in files:
            folders.clear()
            yield Path(place)
            continue
        yield from (Path(place, name) for name in files if name.endswith((".safetensors", ".sft", ".ckpt")))
