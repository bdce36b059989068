"""The training run, in train_network.py's order: data, base, network, optimiser, resume, epochs with their saves."""

from __future__ import annotations

import math
import os
import random
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.demo.trainer import arguments, data, dataset_config, log, metadata, report, state
from core.demo.trainer.events import EventWriter
from core.demo.trainer.log import Bar, logger, say, track
from core.demo.trainer.model import (
    TILES,
    Base,
    learn,
    load_base,
    make_network,
)
from core.demo.trainer.optim import Optimizer, schedule
from core.demo.trainer.run import STEP_SECONDS, LossRecorder, Run
from core.demo.trainer.validation import Validator
from core.demo.trainer.weights import unpack


def train(args: Namespace) -> None:
    """The whole run. Returns where train_network.py ends with status 0, also when there was nothing to train on."""
    started = time.time()
    arguments.prepare(args)
    log.setup(args)
    logger.info(
        "This is kohya-tui's demo trainer: a small stand-in for sd-scripts that learns to draw, on one CPU core."
    )
    random.seed(args.seed)
    logger.info("Using v2 tokenizer" if args.v2 else "Using v1 tokenizer")
    datasets, held_back = _open_data(args)
    if sum(dataset.batches for dataset in datasets) == 0:
        logger.error(
            "No data found. Please verify arguments (train_data_dir must be the parent of folders with images) / "
            "画像がありません。引数指定を確認してください（train_data_dirには画像があるフォルダではなく、"
            "画像があるフォルダの親フォルダを指定する必要があります）"
        )
        return
    for dataset in (*datasets, *held_back):
        if args.cache_latents:
            assert not any(subset.color_aug or subset.random_crop for subset in dataset.subsets), (
                "when caching latents, either color_aug or random_crop cannot be used / "
                "latentをキャッシュするときはcolor_augとrandom_cropは使えません"
            )
        data.check(dataset)
    logger.info("preparing accelerator")
    if args.mixed_precision not in (None, "no", "fp8", "fp16", "bf16"):
        raise ValueError(
            f"Unknown mixed_precision mode: {args.mixed_precision}. Choose between ['no', 'fp8', 'fp16', 'bf16']"
        )
    if args.log_with in ("tensorboard", "all") and args.logging_dir is None:
        raise ValueError(
            "logging_dir is required when log_with is tensorboard / "
            "Tensorboardを使う場合、logging_dirを指定してください"
        )
    if args.save_model_as not in (None, "safetensors"):
        logger.warning(f"the demo trainer writes safetensors only, not {args.save_model_as}")
    folder: Path | None = None
    if args.logging_dir is not None:
        stamp = time.strftime("%Y%m%d%H%M%S", time.localtime())
        folder = Path(f"{args.logging_dir}/{args.log_prefix or ''}{stamp}") / (args.log_tracker_name or "network_train")
    say("accelerator device: cpu")
    base = _load_base(args)
    if args.cache_latents:
        _cache(datasets)
        _cache(held_back)
    run = _prepare(args, datasets, held_back, base, started)
    _loop(run, folder)


def _open_data(args: Namespace) -> tuple[list[data.Dataset], list[data.Dataset]]:
    """The datasets to train on, and those that are held back for validation."""
    configs = dataset_config.load(args)
    assert configs, "datasets should not be an empty iterable"
    datasets = [data.open_dataset(config) for config in configs]
    held_back: list[data.Dataset] = []
    for config in configs:
        if not 0 <= config.validation_split <= 1:
            logger.warning(
                f"Dataset param `validation_split` ({config.validation_split}) is not a valid number between 0.0 and "
                "1.0, skipping validation split..."
            )
        elif config.validation_split > 0:
            held_back.append(data.open_dataset(config, validation=True))
    logger.info(report.describe(datasets))
    if held_back:
        logger.info(report.describe(held_back, "Validation Dataset"))
    for kind, group in (("dataset", datasets), ("validation dataset", held_back)):
        for number, dataset in enumerate(group):
            logger.info(f"[Prepare {kind} {number}]")
            data.make_buckets(dataset)
    data.assign_poses(datasets)
    data.assign_poses(held_back)
    return datasets, held_back


def _load_base(args: Namespace) -> Base:
    path = Path(args.pretrained_model_name_or_path)
    logger.info("loading model for process 0/1")
    if path.is_file():
        logger.info(f"load StableDiffusion checkpoint: {path}")
    else:
        logger.info(f"load Diffusers pretrained models: {path}")
    try:
        base = load_base(path)
    except OSError:
        logger.error(
            "model is not found as a file or in Hugging Face, perhaps file name is wrong? / "
            "指定したモデル名のファイル、またはHugging Faceのモデルが見つかりません。"
            f"ファイル名が誤っているかもしれません: {path}"
        )
        raise
    logger.info("loading u-net: <All keys matched successfully>")
    logger.info("loading vae: <All keys matched successfully>")
    logger.info("loading text encoder: <All keys matched successfully>")
    if args.xformers:
        logger.info("Enable xformers for U-Net")
    elif args.mem_eff_attn:
        logger.info("Enable memory efficient attention for U-Net")
    elif args.sdpa:
        logger.info("Enable SDPA for U-Net")
    return base


def _cache(datasets: Sequence[data.Dataset]) -> None:
    for number, dataset in enumerate(datasets):
        logger.info(f"[Dataset {number}]")
        logger.info("caching latents with caching strategy.")
        logger.info("caching latents...")
        for picture in track(dataset.pictures):
            data.read_canvas(picture)


def _prepare(
    args: Namespace,
    datasets: Sequence[data.Dataset],
    held_back: Sequence[data.Dataset],
    base: Base,
    started: float,
) -> Run:
    say(f"import network module: {args.network_module}")
    network_args = arguments.pairs(args.network_args)
    rank = 4 if args.network_dim is None else args.network_dim
    alpha = 1.0 if args.network_alpha is None else args.network_alpha
    logger.info(f"create LoRA network. base dim (rank): {rank}, alpha: {alpha}")
    dropout = args.network_dropout
    logger.info(f"neuron dropout: p={dropout}, rank dropout: p=None, module dropout: p=None")
    with_text = not args.network_train_unet_only
    with_unet = not args.network_train_text_encoder_only
    network = make_network(rank, float(alpha), with_text, with_unet, args.seed % 2**32)
    logger.info("create LoRA for Text Encoder:")
    logger.info(f"create LoRA for Text Encoder: {int(with_text)} modules.")
    logger.info(f"create LoRA for U-Net: {TILES} modules.")
    if with_text:
        logger.info("enable LoRA for text encoder: 1 modules")
    if with_unet:
        logger.info(f"enable LoRA for U-Net: {TILES} modules")
    if args.network_weights is not None:
        count = network.load(unpack(Path(args.network_weights)))
        say(f"load network weights from {args.network_weights}: {count} matrices")
    say("prepare optimizer, data loader etc.")
    optimizer = Optimizer(args, network)
    if args.persistent_data_loader_workers and args.max_data_loader_n_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
    updates = math.ceil(sum(dataset.batches for dataset in datasets) / args.gradient_accumulation_steps)
    if args.max_train_epochs is not None:
        args.max_train_steps = args.max_train_epochs * updates
        say(
            f"override steps. steps for {args.max_train_epochs} epochs is / "
            f"指定エポックまでのステップ数: {args.max_train_steps}"
        )
    factor = schedule(args, args.max_train_steps)
    return Run(
        args=args,
        datasets=datasets,
        held_back=held_back,
        base=base,
        network=network,
        optimizer=optimizer,
        factor=factor,
        rng=np.random.default_rng(args.seed),
        metadata=metadata.make(args, datasets, held_back, optimizer, started, network_args),
        events=None,
        pace=float(os.environ.get(STEP_SECONDS) or 0.0),
        tag_rng=random.Random(args.seed),
    )


def _start_from(run: Run, updates: int, loaded: int | None) -> tuple[int, int]:
    """The epoch to begin with (from 0) and the batches to skip, by train_network.py's rules."""
    args = run.args
    first = 0
    if args.initial_epoch is not None or args.initial_step is not None:
        if loaded is not None:
            logger.warning(
                "steps from the state is ignored because initial_step is specified / "
                "initial_stepが指定されているため、stateからのステップ数は無視されます"
            )
        first = args.initial_step if args.initial_step is not None else (args.initial_epoch - 1) * updates
    elif loaded is not None:
        first = loaded
    if first <= 0:
        return 0, 0
    assert args.max_train_steps > first, (
        "max_train_steps should be greater than initial step / "
        f"max_train_stepsは初期ステップより大きい必要があります: {args.max_train_steps} vs {first}"
    )
    if not args.skip_until_initial_step:
        return first // updates, 0  # only the number of the epoch is taken over
    if not args.resume:
        logger.info(
            "initial_step is specified but not resuming. lr scheduler will be started from the beginning / "
            "initial_stepが指定されていますがresumeしていないため、lr schedulerは最初から始まります"
        )
    logger.info(f"skipping {first} steps / {first}ステップをスキップします")
    skip = first * args.gradient_accumulation_steps
    return skip // updates, skip


def _loop(run: Run, log_folder: Path | None) -> None:
    args = run.args
    loaded = None
    if args.resume:
        loaded = state.load_state(Path(args.resume), run.network, run.optimizer, run.rng)
    batches = sum(dataset.batches for dataset in run.datasets)
    updates = math.ceil(batches / args.gradient_accumulation_steps)
    epochs = math.ceil(args.max_train_steps / updates)
    if args.save_n_epoch_ratio:
        args.save_every_n_epochs = math.floor(epochs / args.save_n_epoch_ratio) or 1
    validation_images = sum(dataset.train_images for dataset in run.held_back)
    report.say_totals(run.datasets, validation_images, epochs, args.gradient_accumulation_steps, args.max_train_steps)
    first_epoch, skip = _start_from(run, updates, loaded)
    if log_folder is not None:
        run.events = EventWriter(log_folder)
    run.sample(0)
    if skip:
        for epoch in range(first_epoch):
            logger.info(f"skipping epoch {epoch + 1} because initial_step (multiplied) is {skip}")
            skip -= batches
        run.step = skip
    logger.info("unet dtype: float32, device: cpu")
    logger.info("text_encoder [0] dtype: float32, device: cpu")
    bar = Bar(args.max_train_steps - skip, "steps")
    recorder = LossRecorder()
    validator = Validator(run, run.held_back)
    for epoch in range(first_epoch, epochs):
        say(f"\nepoch {epoch + 1}/{epochs}\n")
        run.epoch = epoch + 1
        _epoch(run, bar, recorder, validator, epoch, skip, seen=0 if epoch == first_epoch else epoch)
        skip = 0
        if validator.after_epoch(epoch, recorder.average):
            bar.unpause()
        if run.events is not None:
            run.events.add(epoch + 1, {"loss/epoch_average": recorder.average})
        _end_of_epoch(run, epoch + 1, epochs)
        bar.unpause()
    if run.events is not None:
        run.events.close()
    if args.save_state or args.save_state_on_train_end:
        logger.info("")
        logger.info("saving last state.")
        run.save_state(state.last_name(args))
    run.save(state.last_name(args), epochs)
    logger.info("model saved.")
    bar.close()


def _epoch(run: Run, bar: Bar, recorder: LossRecorder, validator: Validator, epoch: int, skip: int, seen: int) -> None:
    args = run.args
    batches = data.epoch_batches(run.datasets, args.seed, epoch + 1, args.max_train_steps)
    logger.info(f"epoch is incremented. current_epoch: {seen}, epoch: {epoch + 1}")
    # The batch before the first one after a skip is loaded and thrown away; it takes slot 0 of the losses.
    offset = skip - 1 if skip else 0
    pending = 0
    for index, (dataset, batch) in enumerate(batches[skip:], start=skip - offset):
        run.state_step = run.step
        began = time.monotonic()
        loss = _learn(run, dataset, batch)
        pending += 1
        synced = pending == args.gradient_accumulation_steps or index + offset == len(batches) - 1
        if synced:
            pending = 0
            run.optimizer.lrs = [lr * run.factor(run.optimizer.steps) for lr in run.optimizer.base_lrs]
            with np.errstate(all="ignore"):
                run.optimizer.step(run.network, args.max_grad_norm)
            if run.pace:
                time.sleep(max(0.0, run.pace - (time.monotonic() - began)))
            run.step += 1
            bar.update()
            run.sample(None)
            bar.unpause()
            _end_of_step(run, epoch)
        recorder.add(epoch, index, loss)
        bar.set_postfix(avr_loss=recorder.average)
        if run.events is not None:
            run.events.add(run.step, {"loss/current": loss, "loss/average": recorder.average, **_rates(run)})
        if synced and validator.after_step(epoch, run.step, recorder.average):
            bar.unpause()
        if run.step >= args.max_train_steps:
            return


def _learn(run: Run, dataset: data.Dataset, batch: data.Batch) -> float:
    args = run.args
    if not args.cache_latents:
        data.check_uncached(dataset, batch)
    shown = [
        run.base.features(caption, pose, batch.bucket, run.tag_rng)
        for caption, pose in zip(batch.captions, batch.poses, strict=True)
    ]
    weights = [args.prior_loss_weight if picture.subset.is_reg else 1.0 for picture in batch.pictures]
    with np.errstate(all="ignore"):
        return learn(
            run.base,
            run.network,
            np.stack(shown),
            data.pixels(batch),
            run.rng,
            weights=weights,
            min_snr_gamma=args.min_snr_gamma,
            share=1 / args.gradient_accumulation_steps,
        )


def _rates(run: Run) -> dict[str, float]:
    """The learning rates after the schedule's step, under the names that train_network.py gives them."""
    after = [lr * run.factor(run.optimizer.steps) for lr in run.optimizer.base_lrs]
    named = {f"lr/{name}": lr for (name, _), lr in zip(run.optimizer.groups, after, strict=True)}
    first = 0 if run.args.network_train_unet_only else 1
    return named | {f"lr/group{index}": after[index] for index in range(first, len(after))}


def _end_of_step(run: Run, epoch: int) -> None:
    args = run.args
    every = args.save_every_n_steps
    if every is None or run.step % every != 0:
        return
    name = state.step_name(args, run.step)
    run.save(name, epoch)
    if args.save_state:
        logger.info("")
        logger.info(f"saving state at step {run.step}")
        run.save_state(name)
        kept = args.save_last_n_steps_state or args.save_last_n_steps
        if kept is not None and (old := _old_step(run.step, kept, every)) > 0:
            state.remove_state(Path(args.output_dir) / f"{state.step_name(args, old)}-state")
    if args.save_last_n_steps is not None and (old := _old_step(run.step, args.save_last_n_steps, every)) >= 0:
        state.remove_checkpoint(Path(args.output_dir) / f"{state.step_name(args, old)}.safetensors")


def _old_step(step: int, kept: int, every: int) -> int:
    old = step - kept - 1
    return old - old % every


def _end_of_epoch(run: Run, epoch: int, epochs: int) -> None:
    args = run.args
    every = args.save_every_n_epochs
    if every is not None and epoch % every == 0 and epoch < epochs:
        name = state.epoch_name(args, epoch)
        run.save(name, epoch)
        if args.save_last_n_epochs is not None and (old := epoch - every * args.save_last_n_epochs) >= 0:
            state.remove_checkpoint(Path(args.output_dir) / f"{state.epoch_name(args, old)}.safetensors")
        if args.save_state:
            logger.info("")
            logger.info(f"saving state at epoch {epoch}")
            run.save_state(name)
            kept = args.save_last_n_epochs_state or args.save_last_n_epochs
            if kept is not None:
                state.remove_state(Path(args.output_dir) / f"{state.epoch_name(args, epoch - every * kept)}-state")
    run.sample(epoch)
