"""The model of the demo trainer: a frozen denoiser whose idea of a picture is bent by low-rank matrices.

The canvas is 128 x 128 RGB in -1..1, cut into 16 tiles; tile m of the picture of a caption with the features φ is
`mean[m] + gain · alpha/rank · up[m] @ down[m] @ φ`: one LoRA module a tile, named like the 16 `proj_out` layers of
SD1.5's U-Net. An optional module of the text encoder bends φ itself. Around that prediction the frozen denoiser
expects white noise of variance SPREAD, so its guess of the noise, and with it the training loss, is exact Gaussian
arithmetic on real noise at real timesteps: the loss is as restless as that of a real run, and falls as the prediction
gets better.

What tags do not say (the tilt of a head, where it stands) would blur into a mean. So there are POSES: each training
image owns some of them, and the seed of a sample picks one.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

CANVAS = 128
GRID = 4
SIDE = CANVAS // GRID
TILES = GRID * GRID
PIXELS = SIDE * SIDE * 3
FEATURES = 128
WORDS = 640
TIMESTEPS = 1000
POSES = 24
SPREAD = 0.15
GAIN = 40.0

# How much a part of the features weighs. A pose and the first tag carry a picture, a further tag changes it.
ANY, FIRST, FURTHER, POSE, SHAPE = 6.0, 12.0, 3.0, 36.0, 3.0
TAG_DROPOUT = 0.5  # in training, so that a short prompt works as well as a long caption

MEAN_KEY = "first_stage_model.decoder.demo_mean"
WORDS_KEY = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
BLOCKS = (
    *(f"down_blocks_{block}_attentions_{index}" for block in range(3) for index in range(2)),
    "mid_block_attentions_0",
    *(f"up_blocks_{block}_attentions_{index}" for block in range(1, 4) for index in range(3)),
)
UNET_MODULES = tuple(f"lora_unet_{block}_proj_out" for block in BLOCKS)
TEXT_MODULE = "lora_te_text_model_encoder_layers_11_mlp_fc2"

Array = NDArray[np.float32]


def to_tiles(canvas: Array) -> Array:
    """[B, 128, 128, 3] → [B, 16, 3072]."""
    cut = canvas.reshape(-1, GRID, SIDE, GRID, SIDE, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cut.reshape(-1, TILES, PIXELS))


def to_canvas(tiles: Array) -> Array:
    """[B, 16, 3072] → [B, 128, 128, 3]."""
    cut = tiles.reshape(-1, GRID, GRID, SIDE, SIDE, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cut.reshape(-1, CANVAS, CANVAS, 3))


@lru_cache(maxsize=1)
def signal() -> NDArray[np.float64]:
    """The share of the picture's variance left at each timestep (SD1.5's scaled-linear schedule), [1000]."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, TIMESTEPS) ** 2
    return np.asarray(np.cumprod(1.0 - betas), dtype=np.float64)


def tag_name(text: str) -> str:
    """A tag as the features see it: lower case, underscores as spaces, `(tag:1.2)` without its weight."""
    bare = re.sub(r"^[(\[]+|(:[\d.]+)?[)\]]+$", "", text.strip())
    return " ".join(bare.replace("_", " ").lower().split())


@dataclass(frozen=True, slots=True)
class Base:
    """The frozen base: the picture that it draws of anything, and the meaning of words."""

    mean: Array
    words: Array

    def features(
        self, caption: str, pose: int | None, size: tuple[int, int], dropout: random.Random | None = None
    ) -> Array:
        """[128]: near-orthogonal directions for the tags, the first tag's pose and the shape, `size`, added up.

        With `dropout`, as in training, every tag but the first is left out half the time.
        """
        tags = list(dict.fromkeys(name for part in caption.split(",") if (name := tag_name(part))))
        first = tags[0] if tags else ""
        total = ANY * self._direction("") + SHAPE * self._direction(f"@{round(2 * math.log2(size[0] / size[1]))}")
        if first:
            total += FIRST * self._direction(first)
        for tag in tags[1:]:
            if dropout is None or dropout.random() >= TAG_DROPOUT:
                total += FURTHER * self._direction(tag)
        if pose is not None:
            total += POSE * self._direction(f"#{pose % POSES} {first}")
        return np.asarray(total, dtype=np.float32)

    def _direction(self, tag: str) -> Array:
        digest = hashlib.blake2b(tag.encode(), digest_size=8).digest()
        first, second = int.from_bytes(digest[:4], "big") % WORDS, int.from_bytes(digest[4:], "big") % WORDS
        return np.asarray(self.words[first] + self.words[second])


def load_base(path: Path) -> Base:
    """The base checkpoint; any other safetensors file works too, its words being drawn by lot from its header.

    Raises OSError where there is no such file, SafetensorError where it is none.
    """
    if not path.is_file():
        raise OSError(f"Cannot load model {path}: model is not cached locally, and the demo trainer fetches nothing.")
    with safe_open(str(path), framework="numpy") as file:
        names = set(file.keys())
        if {MEAN_KEY, WORDS_KEY} <= names:
            mean, words = file.get_tensor(MEAN_KEY), file.get_tensor(WORDS_KEY)
            if mean.shape == (CANVAS, CANVAS, 3) and words.shape == (WORDS, FEATURES):
                return Base(to_tiles(mean.astype(np.float32))[0], words.astype(np.float32))
    seed = int.from_bytes(hashlib.blake2b("\n".join(sorted(names)).encode(), digest_size=8).digest(), "big")
    return Base(np.zeros((TILES, PIXELS), np.float32), make_words(seed))


def make_words(seed: int) -> Array:
    """Directions of length about 0.7, so that a tag (the sum of two) has about length 1."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_normal((WORDS, FEATURES)) / np.sqrt(2 * FEATURES), dtype=np.float32)


@dataclass(slots=True, eq=False)
class Network:
    """The low-rank matrices (`down`, `up`, `te_down`, `te_up`) and the names of those that are trained."""

    rank: int
    alpha: float
    weights: dict[str, Array]
    trained: tuple[str, ...]
    gradients: dict[str, Array] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """What the product of a pair of matrices is multiplied by."""
        return self.alpha / self.rank

    def add_gradient(self, name: str, value: Array) -> None:
        """Gradients add up until the optimiser takes them (gradient accumulation)."""
        if name in self.trained:
            self.gradients[name] = self.gradients[name] + value if name in self.gradients else value

    def tensors(self) -> dict[str, Array]:
        """All matrices under the names of a kohya LoRA."""
        out: dict[str, Array] = {}
        for index, name in enumerate(UNET_MODULES):
            out[f"{name}.alpha"] = np.array(self.alpha, np.float32)
            out[f"{name}.lora_down.weight"] = self.weights["down"][index]
            out[f"{name}.lora_up.weight"] = self.weights["up"][index]
        if "te_up" in self.weights:
            out[f"{TEXT_MODULE}.alpha"] = np.array(self.alpha, np.float32)
            out[f"{TEXT_MODULE}.lora_down.weight"] = self.weights["te_down"]
            out[f"{TEXT_MODULE}.lora_up.weight"] = self.weights["te_up"]
        return out

    def load(self, tensors: Mapping[str, Array]) -> int:
        """Take over the matrices that fit by name and shape; returns how many there were."""
        found = 0
        for key, target in self.tensors().items():
            value = tensors.get(key)
            if value is not None and not key.endswith(".alpha") and value.shape == target.shape:
                target[...] = value
                found += 1
        return found


def make_network(rank: int, alpha: float, text_encoder: bool, unet: bool, seed: int) -> Network:
    """Down matrices by lot, up matrices zero: before the first step the network changes nothing."""
    rng = np.random.default_rng(seed)
    bound = 1.0 / np.sqrt(FEATURES)
    weights = {
        # The same for all tiles: so they start to learn the same parts, and no seams are seen between them.
        "down": np.repeat(rng.uniform(-bound, bound, (1, rank, FEATURES)), TILES, axis=0).astype(np.float32),
        "up": np.zeros((TILES, PIXELS, rank), np.float32),
    }
    if text_encoder:
        weights["te_down"] = rng.uniform(-bound, bound, (rank, FEATURES)).astype(np.float32)
        weights["te_up"] = np.zeros((FEATURES, rank), np.float32)
    trained = tuple(name for name in weights if (text_encoder if name.startswith("te_") else unet))
    return Network(rank, alpha, weights, trained)


@dataclass(frozen=True, slots=True)
class Thought:
    """A prediction with what its gradient needs."""

    features: Array
    bent: Array
    inner: Array
    picture: Array


def imagine(base: Base, network: Network, features: Array) -> Thought:
    """[B, 128] → the pictures that the captions stand for, [B, 16, 3072]."""
    weights = network.weights
    bent = features
    if "te_up" in weights:
        change = np.float32(network.scale) * (features @ weights["te_down"].T) @ weights["te_up"].T
        bent = np.asarray(features + change, dtype=np.float32)
    inner = np.matmul(weights["down"], bent.T)  # [16, rank, B]
    moved = np.matmul(weights["up"], inner)  # [16, 3072, B]
    picture = np.asarray(base.mean + np.float32(GAIN * network.scale) * moved.transpose(2, 0, 1), dtype=np.float32)
    return Thought(features, bent, inner, picture)


def trust(kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of what it sees the frozen denoiser believes at a share of signal: the gain of a Kalman filter."""
    return np.asarray(np.sqrt(kept) * SPREAD / (kept * SPREAD + 1.0 - kept))


@dataclass(frozen=True, slots=True)
class Error:
    """How far the guessed noise is off: the loss of each picture, and what a gradient needs."""

    each: Array
    thought: Thought
    miss: Array
    gap: Array
    snr: NDArray[np.float64]


def measure(
    base: Base, network: Network, features: Array, wanted: Array, times: NDArray[np.int64], rng: np.random.Generator
) -> Error:
    """The squared error of the noise that the denoiser guesses in pictures noised to the timesteps `times`, [B]."""
    thought = imagine(base, network, features)
    kept = signal()[times]
    noise = rng.standard_normal(wanted.shape, dtype=np.float32)
    belief = trust(kept)
    # noise - guessed noise, with sqrt(kept)·wanted + sigma·noise seen and wanted guessed as picture + belief·(the rest)
    snr = kept / (1.0 - kept)
    miss = (np.sqrt(snr) * (1.0 - belief * np.sqrt(kept))).astype(np.float32)[:, None, None]
    blur = (np.sqrt(kept) * belief).astype(np.float32)[:, None, None]
    gap = wanted - thought.picture
    error = miss * gap - blur * noise
    each = np.mean(np.square(error), axis=(1, 2), dtype=np.float32)
    return Error(np.where(np.isfinite(each), each, np.float32(np.nan)), thought, miss, gap, snr)


def learn(
    base: Base,
    network: Network,
    features: Array,
    wanted: Array,
    rng: np.random.Generator,
    *,
    weights: Sequence[float] | None = None,
    min_snr_gamma: float | None = None,
    share: float = 1.0,
) -> float:
    """One pass at random timesteps: the loss, and gradients added to the network.

    `weights` count pictures more or less, `share` (of an accumulated step) goes into the gradient only. A loss that
    overflows is NaN, which is what becomes of it inside a deep network.
    """
    count = len(features)
    error = measure(base, network, features, wanted, rng.integers(0, TIMESTEPS, count), rng)
    factors = np.ones(count) if weights is None else np.array(weights)
    if min_snr_gamma:
        factors = factors * np.minimum(error.snr, min_snr_gamma) / error.snr
    slope = (-2.0 / (TILES * PIXELS * count) * share * factors).astype(np.float32)[:, None, None]
    _backward(network, error.thought, slope * error.miss * error.miss * error.gap)  # the mean over all noise
    return float(np.mean(error.each * factors.astype(np.float32)))


def _backward(network: Network, thought: Thought, slope: Array) -> None:
    weights = network.weights
    slope = np.ascontiguousarray(slope.transpose(1, 2, 0)) * np.float32(GAIN * network.scale)  # [16, 3072, B]
    network.add_gradient("up", np.matmul(slope, thought.inner.transpose(0, 2, 1)))
    inner = np.matmul(weights["up"].transpose(0, 2, 1), slope)  # [16, rank, B]
    network.add_gradient("down", np.matmul(inner, thought.bent))
    if "te_up" in weights:
        bent = np.matmul(weights["down"].transpose(0, 2, 1), inner).sum(axis=0).T  # [B, 128]
        bent = bent * np.float32(network.scale)
        network.add_gradient("te_up", bent.T @ (thought.features @ weights["te_down"].T))
        network.add_gradient("te_down", (bent @ weights["te_up"]).T @ thought.features)
