"""Checkpoints and training states, under the real one's names and in its order, and none of them written atomically.

In a state folder train_state.json comes first and random_states_0.pkl last: a state without that one is incomplete. The
files have the real one's names; inside they are NumPy archives and JSON, so nothing in them is ever executed.
"""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

from core.demo.trainer.log import logger, say
from core.demo.trainer.model import Network
from core.demo.trainer.optim import Optimizer
from core.demo.trainer.weights import pack, unpack


def epoch_name(args: Namespace, epoch: int) -> str:
    """`NAME-000002`."""
    return f"{'epoch' if args.output_name is None else args.output_name}-{epoch:06d}"


def step_name(args: Namespace, step: int) -> str:
    """`NAME-step00000004`."""
    return f"{'at' if args.output_name is None else args.output_name}-step{step:08d}"


def last_name(args: Namespace) -> str:
    """The name of what is saved at the end."""
    return "last" if args.output_name is None else str(args.output_name)


def write_checkpoint(path: Path, network: Network, precision: str | None, metadata: dict[str, str]) -> None:
    """A safetensors file in fp16, bf16 or float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(network.tensors(), precision, metadata))


def remove_checkpoint(path: Path) -> None:
    """Take an old checkpoint away if it is there."""
    if path.exists():
        say(f"removing old checkpoint: {path}")
        path.unlink()


def save_state(
    folder: Path, network: Network, optimizer: Optimizer, rng: np.random.Generator, epoch: int, step: int
) -> None:
    """Everything that --resume needs."""
    logger.info(f"Saving current state to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "train_state.json"
    logger.info(f"save train state to {path} at epoch {epoch} step {step}")
    path.write_text(json.dumps({"current_epoch": epoch, "current_step": step}), encoding="utf-8")
    path = folder / "model.safetensors"
    path.write_bytes(pack(network.tensors(), None, {}))
    logger.info(f"Model weights saved in {path}")
    path = folder / "optimizer.bin"
    moments = {f"first.{name}": value for name, value in optimizer.first.items()}
    moments |= {f"second.{name}": value for name, value in optimizer.second.items()}
    with path.open("wb") as file:
        np.savez(file, steps=np.array(optimizer.steps), **moments)  # type: ignore[arg-type]
    logger.info(f"Optimizer state saved in {path}")
    path = folder / "scheduler.bin"
    path.write_text(json.dumps({"steps": optimizer.steps, "base_lrs": optimizer.base_lrs}), encoding="utf-8")
    logger.info(f"Scheduler state saved in {path}")
    path = folder / "random_states_0.pkl"
    path.write_text(json.dumps(rng.bit_generator.state), encoding="utf-8")
    logger.info(f"Random states saved in {path}")


def remove_state(folder: Path) -> None:
    """Take an old state away if it is there."""
    if folder.exists():
        logger.info(f"removing old state: {folder}")
        shutil.rmtree(folder)


def load_state(folder: Path, network: Network, optimizer: Optimizer, rng: np.random.Generator) -> int | None:
    """Put the state back; returns the step that its train_state.json names, None where it has none."""
    logger.info(f"resume training from local state: {folder}")
    if not folder.is_dir():
        raise ValueError(f"Tried to find {folder} but folder does not exist")
    logger.info(f"Loading states from {folder}")
    step: int | None = None
    path = folder / "train_state.json"
    if path.exists():
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        step = int(data["current_step"])
        logger.info(f"load train state from {path}: {data}")
    if network.load(unpack(folder / "model.safetensors")) != sum(
        not name.endswith(".alpha") for name in network.tensors()
    ):
        raise RuntimeError("Error(s) in loading state_dict for LoRANetwork: size mismatch, is network_dim another one?")
    logger.info("All model weights loaded successfully")
    with np.load(folder / "optimizer.bin", allow_pickle=False) as moments:
        optimizer.steps = int(moments["steps"])
        for key in moments.files:
            kind, _, name = key.partition(".")
            if name:
                (optimizer.first if kind == "first" else optimizer.second)[name] = moments[key]
    logger.info("All optimizer states loaded successfully")
    logger.info("All scheduler states loaded successfully")
    try:
        rng.bit_generator.state = json.loads((folder / "random_states_0.pkl").read_text(encoding="utf-8"))
        logger.info("All random states loaded successfully")
    except (OSError, ValueError):
        logger.info("Could not load random states")
    return step
