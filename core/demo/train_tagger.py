"""Trains the demo's tagger on drawings with known tags, and measures it: `python -m core.demo.train_tagger OUT_DIR`.

Needs torch and onnx, which the program itself does not: only whoever changes the drawings runs this.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from core.demo.character import CHARACTERS, GENERAL_TAGS, RATINGS, CharacterSpec, random_spec, tags
from core.demo.drawings import draw
from core.tagging.descriptors import WD
from core.tagging.preprocess import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 448
INNER = SIDE // 4  # the graph averages 4x4 pixels first
TRAIN_SEEDS = 0
FRESH_SEEDS = 10_000_000
LEARNED = (*GENERAL_TAGS, *CHARACTERS)
# (width, height) of a training drawing: its long side is twice INNER, so that halving it is what the graph sees.
_SHAPES = ((224, 224), (224, 224), (224, 224), (149, 224), (149, 224), (224, 149), (179, 224), (142, 224), (168, 224))
_CHECK_SIZES = ((512, 512), (512, 768), (768, 512), (640, 640), (512, 640), (448, 704), (384, 384), (832, 1216))


def columns() -> list[tuple[int, str, int]]:
    """The model's outputs in order, as (tag id, name, category): ratings, general tags, characters."""
    rows = [(name, 9) for name in RATINGS] + [(name, 0) for name in GENERAL_TAGS] + [(name, 4) for name in CHARACTERS]
    return [(9_000_000 + i, name, category) for i, (name, category) in enumerate(rows)]


def on_white(image: Image.Image) -> Image.Image:
    """RGB, white where the drawing is transparent."""
    if image.mode == "RGB":
        return image
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, (0, 0), image)
    return white


def _square(image: Image.Image) -> Image.Image:
    """White below and around, as a tagger's preprocessing does it."""
    side = max(image.size)
    padded = Image.new("RGB", (side, side), (255, 255, 255))
    padded.paste(on_white(image), ((side - image.width) // 2, (side - image.height) // 2))
    return padded


def recompressed(image: Image.Image, kind: str, quality: int) -> Image.Image:
    """The image after it was saved as JPEG or WEBP and read back."""
    buffer = io.BytesIO()
    on_white(image).save(buffer, kind, quality=quality)
    return Image.open(buffer).convert("RGB")


def targets(spec: CharacterSpec) -> NDArray[np.float32]:
    """float32 [len(LEARNED)], 1 where the tag is true."""
    true = set(tags(spec))
    return np.array([tag in true for tag in LEARNED], np.float32)


def _small(spec: CharacterSpec, r: random.Random) -> Image.Image:
    """What the graph sees behind its first layer, drawn small at once."""
    w, h = r.choice(_SHAPES)
    if r.random() < 0.3:  # a sample picture of the demo trainer: small and soft
        shrink = r.uniform(96, 144) / 224
        image = draw(spec, (round(w * shrink), round(h * shrink)))
        soft = _square(image).filter(ImageFilter.GaussianBlur(r.uniform(0, 0.9)))
        if r.random() < 0.3:
            soft = recompressed(soft, "JPEG", r.randrange(60, 95))
        return soft.resize((SIDE, SIDE), Image.Resampling.LANCZOS).reduce(4)
    image = draw(spec, (w, h))
    if r.random() < 0.35:
        image = recompressed(image, r.choice(("JPEG", "WEBP")), r.randrange(35, 92))
    return _square(image).reduce(2)


def training_set(count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """uint8 [count, 112, 112, 3] BGR and float32 [count, tags]."""
    images = np.empty((count, INNER, INNER, 3), np.uint8)
    wanted = np.empty((count, len(LEARNED)), np.float32)
    for i in range(count):
        spec = random_spec(TRAIN_SEEDS + i)
        images[i] = np.asarray(_small(spec, random.Random(i)))[:, :, ::-1]
        wanted[i] = targets(spec)
    return images, wanted


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise SystemExit("Training needs torch (the CPU build is enough): pip install torch onnx onnxruntime") from None
    return torch


def train(images: NDArray[np.uint8], wanted: NDArray[np.float32], epochs: int) -> Any:
    """A small convolutional network: a torch.nn.ModuleList of its trunk, its last convolution and its head."""
    torch = _torch()
    nn = torch.nn
    torch.manual_seed(7)
    torch.set_num_threads(2)

    def layer(inputs: int, outputs: int, kernel: int, stride: int) -> list[Any]:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    trunk = nn.Sequential(
        *layer(3, 24, 5, 2), *layer(24, 48, 3, 2), *layer(48, 64, 3, 1), *layer(64, 96, 3, 2), *layer(96, 128, 3, 1)
    )
    net = nn.ModuleList(
        (
            trunk,
            nn.Sequential(*layer(128, 128, 3, 2)),
            nn.Sequential(nn.Linear(384, 128), nn.ReLU(), nn.Linear(128, len(LEARNED))),
        )
    ).to(memory_format=torch.channels_last)
    batch = 32
    steps = epochs * (len(images) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.2)
    pixels, truth = torch.from_numpy(images), torch.from_numpy(wanted)
    begun = time.monotonic()
    for epoch in range(epochs):
        total, order = 0.0, torch.randperm(len(images))
        for start in range(0, len(images) - batch + 1, batch):
            chosen = order[start : start + batch]
            x = pixels[chosen].permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
            if torch.rand(()) < 0.5:
                x = x.flip(3)
            light, contrast = torch.randn(batch, 3, 1, 1) * 0.03, 1 + torch.randn(batch, 1, 1, 1) * 0.06
            x = (x * contrast + light + torch.randn_like(x) * (torch.rand(batch, 1, 1, 1) * 0.04)).clamp_(-1, 1)
            fine = net[0](x.contiguous(memory_format=torch.channels_last))
            coarse = net[1](fine)
            # Mean and maximum: how much of a colour, and whether a thing is there at all. A flower or a mouth is seen
            # in the finer map only.
            pools = torch.cat((fine.amax((2, 3)), coarse.mean((2, 3)), coarse.amax((2, 3))), 1)
            loss = nn.functional.binary_cross_entropy_with_logits(net[2](pools), truth[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        spent = time.monotonic() - begun
        print(f"epoch {epoch + 1}: loss {total / (len(images) // batch):.4f}, {spent:.0f} s", flush=True)
    return net.eval()


def export(net: Any, path: Path) -> None:
    """Writes the WD14 graph: float32 [N, 448, 448, 3] BGR 0..255 to float32 [N, tags]; weights stored as float16."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    torch = _torch()
    nodes: list[Any] = []
    weights: list[Any] = []

    def constant(name: str, values: NDArray[Any]) -> str:
        """Half precision halves the file; onnxruntime folds the cast away when it loads."""
        weights.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
        return name

    nodes.append(helper.make_node("Transpose", ["input"], ["planes"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("AveragePool", ["planes"], ["small"], kernel_shape=[4, 4], strides=[4, 4]))
    weights.append(numpy_helper.from_array(np.array(127.5, np.float32), "half_range"))
    nodes.append(helper.make_node("Sub", ["small", "half_range"], ["centred"]))
    nodes.append(helper.make_node("Div", ["centred", "half_range"], ["x0"]))

    def convolutions(modules: list[Any], now: str, prefix: str) -> str:
        for i in range(0, len(modules), 3):
            conv, norm, name = modules[i], modules[i + 1], f"{prefix}{i // 3}"
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight = (conv.weight * scale[:, None, None, None]).detach().numpy()
            bias = (norm.bias - norm.running_mean * scale).detach().numpy()
            inputs = [now, constant(f"{name}_weight", weight), constant(f"{name}_bias", bias)]
            shape: dict[str, Any] = {"kernel_shape": list(conv.kernel_size), "strides": list(conv.stride)}
            nodes.append(helper.make_node("Conv", inputs, [f"{name}_sum"], pads=[conv.padding[0]] * 4, **shape))
            nodes.append(helper.make_node("Relu", [f"{name}_sum"], [name]))
            now = name
        return now

    fine = convolutions(list(net[0]), "x0", "fine")
    coarse = convolutions(list(net[1]), fine, "coarse")
    nodes.append(helper.make_node("GlobalMaxPool", [fine], ["fine_most"]))
    nodes.append(helper.make_node("GlobalAveragePool", [coarse], ["coarse_mean"]))
    nodes.append(helper.make_node("GlobalMaxPool", [coarse], ["coarse_most"]))
    nodes.append(helper.make_node("Concat", ["fine_most", "coarse_mean", "coarse_most"], ["pools"], axis=1))
    nodes.append(helper.make_node("Flatten", ["pools"], ["flat"]))
    hidden, _, last = net[2]
    weight, bias = hidden.weight.detach().numpy(), hidden.bias.detach().numpy()
    inputs = ["flat", constant("hidden_weight", weight), constant("hidden_bias", bias)]
    nodes.append(helper.make_node("Gemm", inputs, ["hidden_sum"], transB=1))
    nodes.append(helper.make_node("Relu", ["hidden_sum"], ["hidden"]))
    # The ratings are no matter of the picture: every drawing is for everyone.
    weight = np.concatenate((np.zeros((len(RATINGS), last.in_features), np.float32), last.weight.detach().numpy()))
    bias = np.concatenate((np.array([4.2, -4.2, -7, -8], np.float32), last.bias.detach().numpy()))
    inputs = ["hidden", constant("last_weight", weight), constant("last_bias", bias)]
    nodes.append(helper.make_node("Gemm", inputs, ["logits"], transB=1))
    nodes.append(helper.make_node("Sigmoid", ["logits"], ["predictions"]))
    count = len(columns())
    graph = helper.make_graph(
        nodes,
        "demo_tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, ["N", count])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_csv(path: Path, drawings: int = 10_000) -> None:
    """selected_tags.csv as WD14 has it; count is how many of `drawings` random drawings carry the tag."""
    counts = Counter(tag for seed in range(drawings) for tag in tags(random_spec(seed)))
    counts["general"] = drawings
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tag_id", "name", "category", "count"))
        writer.writerows((tag_id, name, category, counts[name]) for tag_id, name, category in columns())


def figures(found: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> tuple[float, float, list[tuple[float, str]]]:
    """(micro F1, macro F1, tags by F1 from the worst) over the learned tags that occur."""
    hit, total = (found & wanted).sum(0), found.sum(0) + wanted.sum(0)
    seen: NDArray[np.bool_] = np.asarray(wanted.any(axis=0))
    each = [(float(2 * h / t), tag) for h, t, tag, s in zip(hit, total, LEARNED, seen, strict=True) if s]
    return float(2 * hit.sum() / total.sum()), sum(f for f, _ in each) / len(each), sorted(each)


def check(folder: Path, count: int, threshold: float = 0.35) -> float:
    """Prints how well the model in the folder names fresh drawings, clean and damaged; the micro F1 on clean ones."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    specs = [random_spec(FRESH_SEEDS + i) for i in range(count)]
    drawings = [draw(spec, _CHECK_SIZES[i % len(_CHECK_SIZES)]) for i, spec in enumerate(specs)]
    wanted = np.stack([targets(spec) for spec in specs]) > 0.5
    noise = np.random.default_rng(0)

    def noisy(image: Image.Image) -> Image.Image:
        flat = np.asarray(on_white(image), np.float32)
        return Image.fromarray(np.clip(flat + noise.normal(0, 8, flat.shape), 0, 255).astype(np.uint8))

    kinds: dict[str, Iterable[Image.Image]] = {
        "clean": drawings,
        "jpeg 50": (recompressed(image, "JPEG", 50) for image in drawings),
        "webp 50": (recompressed(image, "WEBP", 50) for image in drawings),
        "noise 8": (noisy(image) for image in drawings),
        "128 px": (draw(spec, (128, 128)) for spec in specs),
        "96 px, blurred": (on_white(draw(s, (96, 96))).filter(ImageFilter.GaussianBlur(0.6)) for s in specs),
    }
    result, spent = 0.0, 0.0
    for kind, pictures in kinds.items():
        scores: list[NDArray[np.float32]] = []
        for picture in pictures:
            pixels = prepare(on_white(picture), WD, SIDE)[None].astype(np.float32)
            begun = time.perf_counter()
            scores.append(session.run(None, {"input": pixels})[0][0])
            spent += time.perf_counter() - begun
        micro, macro, each = figures(np.stack(scores)[:, len(RATINGS) :] > threshold, wanted)
        worst = ", ".join(f"{tag} {f:.3f}" for f, tag in each[:6])
        print(f"{kind:15} micro F1 {micro:.4f}  macro F1 {macro:.4f}  worst: {worst}", flush=True)
        result = result or micro
    size, each_ms = (folder / "model.onnx").stat().st_size, 1000 * spent / count / len(kinds)
    print(f"{count} drawings, {len(columns())} outputs, {size} bytes, {each_ms:.1f} ms per image")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the model reaches a micro F1 of 0.95 on fresh drawings."""
    parser = argparse.ArgumentParser(prog="python -m core.demo.train_tagger", description=__doc__)
    parser.add_argument("folder", type=Path, help="where model.onnx and selected_tags.csv are written")
    parser.add_argument("--check", action="store_true", help="measure the model that is there, train nothing")
    parser.add_argument("--drawings", type=int, default=8000, help="drawings to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=9, help="times that each is seen (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if not chosen.check:
        _torch()
        chosen.folder.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        images, wanted = training_set(chosen.drawings)
        print(f"{len(images)} drawings in {time.monotonic() - begun:.0f} s", flush=True)
        export(train(images, wanted, chosen.epochs), chosen.folder / "model.onnx")
        write_csv(chosen.folder / "selected_tags.csv")
    return 0 if check(chosen.folder, 320) >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
