"""Sample pictures: the prompt file, read again before every sampling, and the PNGs in <output_dir>/sample."""

from __future__ import annotations

import json
import os
import re
import time
import tomllib
from argparse import Namespace
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from core.demo.trainer.log import logger, track
from core.demo.trainer.model import PIXELS as TILE_PIXELS
from core.demo.trainer.model import POSES, TILES, TIMESTEPS, Array, Base, Network, imagine, signal, to_canvas, trust

HEAT = 0.06  # the noise that a picture starts from, as a share of the noise in training: less is calmer
PLAIN_SCALE = 7.0  # the --l at which the prediction is drawn as it is


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt with its options; None where the option was not given."""

    text: str
    negative: str | None
    width: int
    height: int
    steps: int
    scale: float
    seed: int | None
    sampler: str | None


_OPTIONS = {"w": "width", "h": "height", "d": "seed", "s": "sample_steps", "l": "scale", "n": "negative_prompt"}
_OPTIONS |= {"ss": "sample_sampler"}


def parse_line(line: str) -> dict[str, Any]:
    """`a tag --n bad --w 512 --h 768 --d 42 --l 7 --s 28` as a dict; options that are not known are passed over."""
    text, *options = line.split(" --")
    found: dict[str, Any] = {"prompt": text}
    for option in options:
        match = re.match(r"(\w+) (.+)", option)
        name = _OPTIONS.get(match.group(1).lower()) if match else None
        if match is None or name is None:
            continue
        value = match.group(2)
        if name in ("negative_prompt", "sample_sampler"):
            found[name] = value
        elif number := re.match(r"[\d.]+" if name == "scale" else r"\d+", value):
            try:
                found[name] = float(number.group()) if name == "scale" else int(number.group())
            except ValueError as error:
                logger.error(f"Exception in parsing / 解析エラー: {option}")
                logger.error(error)
    if "sample_steps" in found:
        found["sample_steps"] = max(1, min(1000, found["sample_steps"]))
    return found


def read_prompts(path: str, default_sampler: str | None) -> list[Prompt]:
    """The prompts of a .txt, .toml or .json file; any other suffix raises UnboundLocalError, as in the real one."""
    listed: list[Any]
    if path.endswith(".txt"):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        listed = [line.strip() for line in lines if line.strip() and line[0] != "#"]
    elif path.endswith(".toml"):
        shared = dict(tomllib.loads(Path(path).read_text(encoding="utf-8"))["prompt"])
        listed = [shared | subset for subset in shared.pop("subset")]
    elif path.endswith(".json"):
        listed = json.loads(Path(path).read_text(encoding="utf-8"))
    else:
        raise UnboundLocalError("cannot access local variable 'prompts' where it is not associated with a value")
    prompts = []
    for entry in listed:
        options = parse_line(entry) if isinstance(entry, str) else entry
        assert isinstance(options, dict)
        width, height = (int(options.get(name, 512)) for name in ("width", "height"))
        prompts.append(
            Prompt(
                text=options.get("prompt", ""),
                negative=options.get("negative_prompt"),
                width=max(64, width - width % 8),
                height=max(64, height - height % 8),
                steps=options.get("sample_steps", 30),
                scale=options.get("scale", 7.5),
                seed=options.get("seed"),
                sampler=options.get("sample_sampler", default_sampler),
            )
        )
    return prompts


def is_due(args: Namespace, epoch: int | None, step: int) -> bool:
    """Whether samples are wanted now: `epoch` is None after a step, step is 0 before training."""
    if step == 0:
        return bool(args.sample_at_first)
    if args.sample_every_n_epochs is not None:  # sample_every_n_steps is ignored then
        return epoch is not None and bool(epoch % args.sample_every_n_epochs == 0)
    if args.sample_every_n_steps is not None:
        return epoch is None and bool(step % args.sample_every_n_steps == 0)
    return False


def sample(args: Namespace, base: Base, network: Network, epoch: int | None, step: int, pause: float) -> None:
    """Draw every prompt if samples are due; `pause` is the least time in seconds for one sampling step."""
    if not is_due(args, epoch, step):
        return
    logger.info("")
    logger.info(f"generating sample images at step / サンプル画像生成 ステップ: {step}")
    if not os.path.isfile(args.sample_prompts):  # noqa: PTH113 - None raises TypeError here, as in the real one
        logger.error(f"No prompt file / プロンプトファイルがありません: {args.sample_prompts}")
        return
    prompts = read_prompts(args.sample_prompts, args.sample_sampler)
    folder = Path(args.output_dir + "/sample")
    folder.mkdir(parents=True, exist_ok=True)
    for index, prompt in enumerate(prompts):
        logger.info(f"prompt: {prompt.text}")
        logger.info(f"negative_prompt: {prompt.negative}")
        logger.info(f"height: {prompt.height}")
        logger.info(f"width: {prompt.width}")
        logger.info(f"sample_steps: {prompt.steps}")
        logger.info(f"scale: {prompt.scale}")
        logger.info(f"sample_sampler: {prompt.sampler}")
        if prompt.seed is not None:
            logger.info(f"seed: {prompt.seed}")
        canvas = denoise(base, network, prompt, pause)
        name = "" if args.output_name is None else f"{args.output_name}_"
        when = f"e{epoch:06d}" if epoch is not None else f"{step:06d}"
        seed = "" if prompt.seed is None else f"_{prompt.seed}"
        clock = time.strftime("%Y%m%d%H%M%S", time.localtime())
        develop(canvas, prompt.width, prompt.height).save(folder / f"{name}{when}_{index:02d}_{clock}{seed}.png")


def denoise(base: Base, network: Network, prompt: Prompt, pause: float) -> Array:
    """From noise to a canvas [128, 128, 3] in -1..1, by DDIM around the picture that the prompt stands for."""
    rng = np.random.default_rng(prompt.seed)
    pose = int(rng.integers(POSES)) if prompt.seed is None else prompt.seed
    target = _target(base, network, prompt, pose)
    state = np.float32(HEAT) * rng.standard_normal((TILES, TILE_PIXELS), dtype=np.float32)
    times = np.linspace(TIMESTEPS - 1, 0, prompt.steps + 1).astype(int)
    for now, then in track(list(pairwise(times))):
        kept, next_kept = signal()[now], signal()[then]
        belief = trust(np.array(kept))
        with np.errstate(all="ignore"):
            guess = target + belief * (state - np.sqrt(kept) * target)
            noise = (state - np.sqrt(kept) * guess) / np.sqrt(1 - kept)
            state = np.asarray(np.sqrt(next_kept) * guess + np.sqrt(1 - next_kept) * noise, dtype=np.float32)
        if pause:
            time.sleep(pause)
    return np.asarray(to_canvas(state[None])[0])


def _target(base: Base, network: Network, prompt: Prompt, pose: int) -> Array:
    """The picture of the prompt; --l pushes it away from, the negative prompt draws it off, the picture of nothing."""
    with np.errstate(all="ignore"):
        size = (prompt.width, prompt.height)
        wanted = imagine(base, network, base.features(prompt.text, pose, size)[None]).picture[0]
        nothing = base.features(prompt.negative or "", None, size)[None]
        unwanted = imagine(base, network, nothing).picture[0]
        push = np.float32(min(max((prompt.scale - PLAIN_SCALE) * 0.04, -0.5), 0.5))
        return np.asarray(wanted + push * (wanted - unwanted), dtype=np.float32)


def develop(canvas: Array, width: int, height: int) -> Image.Image:
    """The canvas as a picture of the wanted size: enlarged smoothly until it covers it, cropped in the middle."""
    values = np.nan_to_num(np.clip((canvas + 1) * 127.5, 0, 255), nan=0.0)
    small = Image.fromarray(np.round(values).astype(np.uint8), "RGB")
    side = max(width, height)
    large = small.resize((side, side), Image.Resampling.BICUBIC)
    large = large.filter(ImageFilter.UnsharpMask(radius=side / 128, percent=90, threshold=0))
    left, top = (side - width) // 2, (side - height) // 2
    return large.crop((left, top, left + width, top + height))
