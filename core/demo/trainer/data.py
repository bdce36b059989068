"""The data set of a run: images with captions in buckets, and the batches of an epoch."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.dataset.buckets import Size
from core.demo.trainer.buckets import Bucketing, Placement, adjusted_limits
from core.demo.trainer.dataset_config import DatasetConfig, SubsetConfig
from core.demo.trainer.log import logger, track
from core.demo.trainer.model import CANVAS, POSES, Array, to_tiles

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
TILE_SIZE = 64  # what bucket_reso_steps must be divisible by for SD1.5


@dataclass(slots=True, eq=False)
class Picture:
    """One image file; `canvas` is what the model sees of it (uint8 [128, 128, 3], RGB), None until it is read."""

    path: str
    caption: str
    subset: SubsetConfig
    repeats: int
    poses: tuple[int, ...] = ()
    size: Size = (0, 0)
    placement: Placement | None = None
    canvas: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures of one bucket: captions as they are shown in this epoch, which are mirrored, and a pose for each."""

    bucket: Size
    pictures: tuple[Picture, ...]
    captions: tuple[str, ...]
    mirrored: tuple[bool, ...]
    poses: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Dataset:
    """One [[datasets]] table with its images."""

    config: DatasetConfig
    resolution: Size
    bucketing: Bucketing
    pictures: list[Picture] = field(default_factory=list)
    subsets: list[SubsetConfig] = field(default_factory=list)
    tag_frequency: dict[str, dict[str, int]] = field(default_factory=dict)
    bucket_info: dict[str, Any] = field(default_factory=dict)
    buckets: list[list[Picture]] = field(default_factory=list)
    train_images: int = 0
    reg_images: int = 0

    @property
    def batches(self) -> int:
        """Batches in an epoch: each bucket is rounded up by itself."""
        return sum(math.ceil(len(bucket) / self.config.batch_size) for bucket in self.buckets)


def open_dataset(config: DatasetConfig, *, validation: bool = False) -> Dataset:
    """Find the images and read their captions; a subset without images is dropped with a warning.

    With a validation_split, the part that is trained on, or (`validation`) the part that is not.
    """
    assert config.resolution is not None, "resolution is required / resolution（解像度）指定は必須です"
    low: int | None = None
    high: int | None = None
    if config.enable_bucket:
        low, high = adjusted_limits(
            config.resolution, config.min_bucket_reso, config.max_bucket_reso, config.bucket_reso_steps
        )
    bucketing = Bucketing(config.resolution, low, high, config.bucket_reso_steps, not config.bucket_no_upscale)
    dataset = Dataset(config, config.resolution, bucketing)
    logger.info("prepare images.")
    regular: list[Picture] = []
    for subset in config.subsets:
        where = f"ignore subset with image_dir='{subset.image_dir}'"
        if validation:
            subset = replace(subset, num_repeats=1)
        if subset.num_repeats < 1:
            logger.warning(
                f"{where}: num_repeats is less than 1 / "
                f"num_repeatsが1を下回っているためサブセットを無視します: {subset.num_repeats}"
            )
            continue
        if any(other.image_dir == subset.image_dir and other.is_reg == subset.is_reg for other in dataset.subsets):
            logger.warning(
                f"ignore duplicated subset with image_dir='{subset.image_dir}': use the first one / "
                "既にサブセットが登録されているため、重複した後発のサブセットを無視します"
            )
            continue
        found = _read_folder(subset, dataset, validation)
        if not found:
            logger.warning(f"{where}: no images found / 画像が見つからないためサブセットを無視します")
            continue
        if subset.is_reg:
            regular += found
            dataset.reg_images += subset.num_repeats * len(found)
        else:
            dataset.pictures += found
            dataset.train_images += subset.num_repeats * len(found)
        subset.image_count = len(found)
        dataset.subsets.append(subset)
    kind = "validation" if validation else "train"
    logger.info(f"{dataset.train_images} {kind} images with repeats.")
    logger.info(f"{dataset.reg_images} reg images with repeats.")
    if dataset.train_images < dataset.reg_images:
        logger.warning(
            "some of reg images are not used / 正則化画像の数が多いので、一部使用されない正則化画像があります"
        )
    if dataset.reg_images == 0:
        logger.warning("no regularization images / 正則化画像が見つかりませんでした")
    else:
        _balance(dataset, regular)
    return dataset


def _balance(dataset: Dataset, regular: Sequence[Picture]) -> None:
    """Regularisation images are repeated until they reach the number of training images; what is beyond is not used."""
    count = 0
    first = True
    while count < dataset.train_images:
        for picture in regular:
            if first:
                dataset.pictures.append(picture)
                count += picture.repeats
            else:
                picture.repeats += 1
                count += 1
            if count >= dataset.train_images:
                break
        first = False


def _read_folder(subset: SubsetConfig, dataset: Dataset, validation: bool) -> list[Picture]:
    folder = Path(subset.image_dir)
    if not folder.is_dir():
        logger.warning(f"not directory: {subset.image_dir}")
        return []
    allowed = (*EXTENSIONS, *(extension.upper() for extension in EXTENSIONS))
    paths = sorted({f"{subset.image_dir}/{entry.name}" for entry in folder.iterdir() if entry.suffix in allowed})
    logger.info("get image size from name of cache files")
    for _ in track(paths):
        pass  # the demo trainer keeps no cache files; the line is there because readers of the log know it
    logger.info(f"set image size from cache files: 0/{len(paths)}")
    if dataset.config.validation_split > 0:
        paths = _part(paths, subset, dataset.config, validation)
    logger.info(f"found directory {subset.image_dir} contains {len(paths)} image files")
    pictures: list[Picture] = []
    missing: list[str] = []
    for path in track(paths, "read caption"):
        caption = _read_caption(path, subset)
        if caption is None:
            if subset.class_tokens is None:
                logger.warning(
                    f"neither caption file nor class tokens are found. use empty caption for {path} / "
                    f"キャプションファイルもclass tokenも見つかりませんでした。空のキャプションを使用します: {path}"
                )
            missing.append(path)
            caption = subset.class_tokens or ""
        pictures.append(Picture(path, caption, subset, subset.num_repeats))
    counts = dataset.tag_frequency.setdefault(folder.name, {})
    for picture in pictures:
        for tag in picture.caption.split(","):
            if name := tag.strip().lower():
                counts[name] = counts.get(name, 0) + 1
    if missing:
        logger.warning(
            f"No caption file found for {len(missing)} images. Training will continue without captions for these "
            "images. If class token exists, it will be used. / "
            f"{len(missing)}枚の画像にキャプションファイルが見つかりませんでした。"
            "これらの画像についてはキャプションなしで学習を続行します。class tokenが存在する場合はそれを使います。"
        )
        for path in missing[:5]:
            logger.warning(path)
        if len(missing) > 5:
            logger.warning(f"{missing[5]}... and {len(missing) - 5} more")
    return pictures


def _part(paths: list[str], subset: SubsetConfig, config: DatasetConfig, validation: bool) -> list[str]:
    """The trained or the held-back part. Without validation_seed the two shuffles differ and the parts may overlap."""
    if subset.is_reg:
        return [] if validation else paths
    if not paths:
        raise ValueError("not enough values to unpack (expected 2, got 0)")
    shuffled = list(paths)
    (random if config.validation_seed is None else random.Random(config.validation_seed)).shuffle(shuffled)
    split = config.validation_split
    if validation:
        return shuffled[len(paths) - round(len(paths) * split) :]
    return shuffled[: math.ceil(len(paths) * (1 - split))]


def _read_caption(image: str, subset: SubsetConfig) -> str | None:
    path = Path(image).with_suffix(subset.caption_extension)
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        logger.error(f"illegal char in file (not UTF-8) / ファイルにUTF-8以外の文字があります: {path}")
        raise
    assert lines, f"caption file is empty / キャプションファイルが空です: {path}"
    if subset.enable_wildcard:
        return "\n".join(line.strip() for line in lines if line.strip())
    return lines[0].strip()


def make_buckets(dataset: Dataset) -> None:
    """Read the sizes from the file headers and put every image into its bucket."""
    logger.info("loading image sizes.")
    for picture in track(dataset.pictures):
        try:
            with Image.open(picture.path) as image:
                picture.size = image.size
        except OSError as error:
            logger.warning(f"failed to get image size: {picture.path}, error: {error}")
    config = dataset.config
    if not config.enable_bucket:
        logger.info("prepare dataset")
    else:
        logger.info("make buckets")
        if config.bucket_no_upscale:
            logger.warning(
                "min_bucket_reso and max_bucket_reso are ignored if bucket_no_upscale is set, because bucket reso is "
                "defined by image size automatically / "
                "bucket_no_upscaleが指定された場合は、bucketの解像度は画像サイズから自動計算されるため、min_bucket_resoとmax_bucket_resoは無視されます"
            )
    members: dict[Size, list[Picture]] = {}
    errors: list[float] = []
    for picture in dataset.pictures:
        picture.placement = dataset.bucketing.place(*picture.size)
        errors.append(picture.placement.error)
        members.setdefault(picture.placement.bucket, []).extend([picture] * picture.repeats)
    sizes = sorted(members)
    dataset.buckets = [members[size] for size in sizes]
    if config.enable_bucket:
        logger.info("number of images (including repeats) / 各bucketの画像枚数（繰り返し回数を含む）")
        info: dict[str, Any] = {}
        for number, size in enumerate(sizes):
            info[str(number)] = {"resolution": list(size), "count": len(members[size])}
            logger.info(f"bucket {number}: resolution {size}, count: {len(members[size])}")
        mean = float(np.mean(errors)) if errors else 0
        dataset.bucket_info = {"buckets": info, "mean_img_ar_error": mean}
        logger.info(f"mean ar error (without repeats): {mean}")


def check(dataset: Dataset) -> None:
    """The checks that train_network.py makes after the data is known to be there."""
    step = dataset.config.bucket_reso_steps
    if dataset.config.enable_bucket:
        assert step % TILE_SIZE == 0, (
            f"bucket_reso_steps is {step}. it must be divisible by {TILE_SIZE}.\n"
            f"bucket_reso_stepsが{step}です。{TILE_SIZE}で割り切れる必要があります"
        )


def read_canvas(picture: Picture) -> NDArray[np.uint8]:
    """The middle square of the picture's bucket, scaled to the canvas; kept in memory.

    What the bucket cuts off is not seen here either.
    """
    if picture.canvas is not None:
        return picture.canvas
    assert picture.placement is not None
    width, height = picture.placement.bucket
    wide, _ = picture.placement.resized
    scale = picture.size[0] / wide
    half = min(width, height) / 2 * scale
    middle = (picture.size[0] / 2, picture.size[1] / 2)
    box = (
        max(0.0, middle[0] - half),
        max(0.0, middle[1] - half),
        min(float(picture.size[0]), middle[0] + half),
        min(float(picture.size[1]), middle[1] + half),
    )
    with Image.open(picture.path) as image:
        small = image.convert("RGB").resize((CANVAS, CANVAS), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    picture.canvas = np.asarray(small, dtype=np.uint8)
    return picture.canvas


def check_uncached(dataset: Dataset, batch: Batch) -> None:
    """Without buckets and without cached latents an image above the resolution ends the run at its first batch."""
    if dataset.config.enable_bucket:
        return
    for picture in batch.pictures:
        fits = picture.size[0] <= dataset.resolution[0] and picture.size[1] <= dataset.resolution[1]
        assert fits or picture.subset.face_crop_aug_range or picture.subset.random_crop, (
            "image too large, but cropping and bucketing are disabled / "
            f"画像サイズが大きいのでface_crop_aug_rangeかrandom_crop、またはbucketを有効にしてください: {picture.path}"
        )


def epoch_batches(datasets: Sequence[Dataset], seed: int, epoch: int, max_steps: int) -> list[tuple[Dataset, Batch]]:
    """The batches of an epoch (1, 2 …) in training order; the same seed and epoch give the same batches."""
    rng = random.Random(f"{seed}/{epoch}")
    out: list[tuple[Dataset, Batch]] = []
    for dataset in datasets:
        size = dataset.config.batch_size
        for bucket in dataset.buckets:
            order = list(bucket)
            rng.shuffle(order)
            for start in range(0, len(order), size):
                pictures = tuple(order[start : start + size])
                captions = tuple(shown_caption(picture, rng, epoch) for picture in pictures)
                mirrored = tuple(picture.subset.flip_aug and rng.random() < 0.5 for picture in pictures)
                poses = tuple(rng.choice(picture.poses) for picture in pictures)
                shape = pictures[0].placement.bucket if pictures[0].placement else dataset.resolution
                out.append((dataset, Batch(shape, pictures, captions, mirrored, poses)))
    rng.shuffle(out)
    return out


def plain_batches(datasets: Sequence[Dataset]) -> list[tuple[Dataset, Batch]]:
    """Batches in their own order, captions as they are: for validation."""
    out: list[tuple[Dataset, Batch]] = []
    for dataset in datasets:
        size = dataset.config.batch_size
        for bucket in dataset.buckets:
            for start in range(0, len(bucket), size):
                part = tuple(bucket[start : start + size])
                shape = part[0].placement.bucket if part[0].placement else dataset.resolution
                captions = tuple(picture.caption for picture in part)
                poses = tuple(picture.poses[0] for picture in part)
                out.append((dataset, Batch(shape, part, captions, (False,) * len(part), poses)))
    return out


def pixels(batch: Batch) -> Array:
    """What the model shall draw: float32 [B, 16, 3072] in -1..1."""
    wanted = np.stack([read_canvas(picture) for picture in batch.pictures]).astype(np.float32) / np.float32(127.5) - 1
    for index, mirrored in enumerate(batch.mirrored):
        if mirrored:
            wanted[index] = wanted[index, :, ::-1]
    return to_tiles(wanted)


def assign_poses(datasets: Sequence[Dataset]) -> None:
    """Every image of a first tag owns the poses of that tag in turn, so that none is left without an image."""
    groups: dict[str, list[Picture]] = {}
    for dataset in datasets:
        for picture in dataset.pictures:
            groups.setdefault(picture.caption.split(",")[0].strip(), []).append(picture)
    for group in groups.values():
        for index, picture in enumerate(group):
            picture.poses = tuple(range(index, POSES, len(group))) or (index % POSES,)


def shown_caption(picture: Picture, rng: random.Random, epoch: int) -> str:
    """The caption as the text encoder gets it: prefix, dropout, wildcards, shuffling behind the kept tokens."""
    subset = picture.subset
    caption = picture.caption
    if subset.caption_prefix:
        caption = f"{subset.caption_prefix} {caption}"
    if subset.caption_suffix:
        caption = f"{caption} {subset.caption_suffix}"
    every = subset.caption_dropout_every_n_epochs
    if rng.random() < subset.caption_dropout_rate or (every > 0 and epoch % every == 0):
        return ""
    if subset.enable_wildcard:
        caption = rng.choice(caption.split("\n"))
        caption = re.sub(r"\{([^{}]+)\}", lambda match: rng.choice(match.group(1).split("|")), caption)
    if not (subset.shuffle_caption or subset.caption_tag_dropout_rate > 0):
        return caption
    separator = subset.keep_tokens_separator
    last = ""
    if separator and separator in caption:
        first, _, caption = caption.partition(separator)
        caption, _, last = caption.partition(separator)
        kept, free = _tokens(first, subset), _tokens(caption, subset)
    else:
        tokens = [token.strip() for token in caption.strip().split(subset.caption_separator)]
        kept, free = tokens[: subset.keep_tokens], tokens[subset.keep_tokens :]
    if subset.shuffle_caption:
        rng.shuffle(free)
    free = [token for token in free if rng.random() >= subset.caption_tag_dropout_rate]
    return ", ".join([*kept, *free, *_tokens(last, subset)])


def _tokens(text: str, subset: SubsetConfig) -> list[str]:
    return [token.strip() for token in text.split(subset.caption_separator) if token.strip()]
