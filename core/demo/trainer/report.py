"""The two blocks about the data that a log begins with: every setting before the buckets, the totals before step 1."""

from __future__ import annotations

from collections.abc import Sequence

from core.demo.trainer.data import Dataset
from core.demo.trainer.log import say

SHOWN = (
    "num_repeats",
    "shuffle_caption",
    "keep_tokens",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
    "caption_prefix",
    "caption_suffix",
    "color_aug",
    "flip_aug",
    "face_crop_aug_range",
    "random_crop",
)


def describe(datasets: Sequence[Dataset], kind: str = "Dataset") -> str:
    """The block with every dataset's and subset's settings that is logged before the buckets are made."""
    lines: list[str] = []
    for number, dataset in enumerate(datasets):
        config = dataset.config
        lines += [
            f"[{kind} {number}]",
            f"  batch_size: {config.batch_size}",
            f"  resolution: {dataset.resolution}",
            f"  resize_interpolation: {config.resize_interpolation}",
            f"  enable_bucket: {config.enable_bucket}",
        ]
        if config.enable_bucket:
            lines += [
                f"  min_bucket_reso: {dataset.bucketing.low}",
                f"  max_bucket_reso: {dataset.bucketing.high}",
                f"  bucket_reso_steps: {config.bucket_reso_steps}",
                f"  bucket_no_upscale: {config.bucket_no_upscale}",
            ]
        lines.append("")
        for index, subset in enumerate(dataset.subsets):
            lines += [
                f"  [Subset {index} of {kind} {number}]",
                f'    image_dir: "{subset.image_dir}"',
                f"    image_count: {subset.image_count}",
                *(f"    {name}: {getattr(subset, name)}" for name in SHOWN),
                f"    token_warmup_min: {subset.token_warmup_min},",
                f"    token_warmup_step: {subset.token_warmup_step},",
                f"    alpha_mask: {subset.alpha_mask}",
                f"    resize_interpolation: {subset.resize_interpolation}",
                f"    custom_attributes: {subset.custom_attributes}",
                f"    is_reg: {subset.is_reg}",
                f"    class_tokens: {subset.class_tokens}",
                f"    caption_extension: {subset.caption_extension}",
                "",
            ]
    return "\n".join(lines) + "\n"


def say_totals(datasets: Sequence[Dataset], held_back: int, epochs: int, accumulation: int, total: int) -> None:
    """The `running training` block on stdout; `held_back` is the number of validation images."""
    say("running training / 学習開始")
    trained = sum(dataset.train_images for dataset in datasets)
    say(f"  num train images * repeats / 学習画像の数×繰り返し回数: {trained}")
    say(f"  num validation images * repeats / 学習画像の数×繰り返し回数: {held_back}")
    say(f"  num reg images / 正則化画像の数: {sum(dataset.reg_images for dataset in datasets)}")
    say(f"  num batches per epoch / 1epochのバッチ数: {sum(dataset.batches for dataset in datasets)}")
    say(f"  num epochs / epoch数: {epochs}")
    sizes = ", ".join(str(dataset.config.batch_size) for dataset in datasets)
    say(f"  batch size per device / バッチサイズ: {sizes}")
    say(f"  gradient accumulation steps / 勾配を合計するステップ数 = {accumulation}")
    say(f"  total optimization steps / 学習ステップ数: {total}")
