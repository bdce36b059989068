"""Optimisers and learning-rate schedules, as torch and diffusers define them, for the matrices of the network."""

from __future__ import annotations

import ast
import math
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np

from core.demo.trainer.arguments import pairs
from core.demo.trainer.log import logger
from core.demo.trainer.model import Array, Network

ADAM = ("adamw", "adam", "adamw8bit", "pagedadamw", "pagedadamw8bit", "pagedadamw32bit")
LION = ("lion", "lion8bit", "pagedlion8bit")
SHOWN = {
    "adamw8bit": "8-bit AdamW",
    "pagedadamw8bit": "8-bit PagedAdamW",
    "lion8bit": "8-bit Lion",
    "pagedlion8bit": "8-bit Paged Lion",
    "sgdnesterov": "SGD with Nesterov",
    "sgdnesterov8bit": "8-bit SGD with Nesterov",
}
SGD = ("sgd", "sgdnesterov", "sgdnesterov8bit")


class Optimizer:
    """AdamW, Lion or SGD over the trained matrices; `lrs` has a rate for each group, the text encoder's first."""

    def __init__(self, args: Namespace, network: Network) -> None:
        name = (args.optimizer_type or ("AdamW8bit" if args.use_8bit_adam else "AdamW")).lower()
        options: dict[str, Any] = {key: ast.literal_eval(value) for key, value in pairs(args.optimizer_args).items()}
        shown = SHOWN.get(name, args.optimizer_type or "AdamW")
        logger.info(f"use {shown} optimizer | {options}")
        if name not in (*ADAM, *LION, *SGD):
            logger.warning(f"the demo trainer has no {args.optimizer_type}: it trains with AdamW")
        self.kind = "lion" if name in LION else "sgd" if name in SGD else "adam"
        self.label = {"lion": "lion_pytorch.lion_pytorch.Lion", "sgd": "torch.optim.sgd.SGD"}.get(
            self.kind, "torch.optim.adamw.AdamW"
        )
        self.options = options
        self.groups: list[tuple[str, tuple[str, ...]]] = []
        base: list[float] = []
        te_lr = args.text_encoder_lr[0] if args.text_encoder_lr else args.learning_rate
        te_names = tuple(key for key in network.trained if key.startswith("te_"))
        unet_names = tuple(key for key in network.trained if not key.startswith("te_"))
        if te_names:
            self.groups.append(("textencoder", te_names))
            base.append(te_lr)
        if unet_names:
            self.groups.append(("unet", unet_names))
            base.append(args.unet_lr if args.unet_lr is not None else args.learning_rate)
        for lr in base:
            if not 0.0 <= lr:  # noqa: SIM300 - a string from the file dies here, in torch's words
                raise ValueError(f"Invalid learning rate: {lr}")
        self.base_lrs = base
        self.lrs = list(base)
        default = (0.9, 0.99) if self.kind == "lion" else (0.9, 0.999)
        self.betas: tuple[float, float] = tuple(options.get("betas", default))
        self.decay = float(options.get("weight_decay", 0.01 if self.kind == "adam" else 0.0))
        self.eps = float(options.get("eps", 1e-8))
        self.momentum = float(options.get("momentum", 0.9 if name.startswith("sgdn") else 0.0))
        self.steps = 0
        self.first: dict[str, Array] = {}
        self.second: dict[str, Array] = {}

    def step(self, network: Network, max_norm: float) -> None:
        """Clip the gradients to a common norm (0: not), apply them, forget them."""
        self.steps += 1
        if max_norm:
            total = math.sqrt(sum(float(np.vdot(value, value)) for value in network.gradients.values()))
            if total > max_norm:
                for value in network.gradients.values():
                    value *= np.float32(max_norm / (total + 1e-6))
        for (_, names), lr in zip(self.groups, self.lrs, strict=True):
            for name in names:
                if name in network.gradients:
                    self._apply(name, network.weights[name], network.gradients[name], lr)
        network.gradients.clear()

    def _apply(self, name: str, weight: Array, gradient: Array, lr: float) -> None:
        first = self.first.setdefault(name, np.zeros_like(weight))
        low, high = (np.float32(beta) for beta in self.betas)
        if self.kind == "sgd":
            gradient = gradient + np.float32(self.decay) * weight
            first *= np.float32(self.momentum)
            first += gradient
            weight -= np.float32(lr) * first
            return
        weight *= np.float32(1.0 - lr * self.decay)
        if self.kind == "lion":
            weight -= np.float32(lr) * np.sign(first * low + gradient * (1 - low))
            first *= high
            first += (1 - high) * gradient
            return
        second = self.second.setdefault(name, np.zeros_like(weight))
        first *= low
        first += (1 - low) * gradient
        second *= high
        second += (1 - high) * np.square(gradient)
        size = np.float32(lr / (1 - self.betas[0] ** self.steps))
        root = np.sqrt(second) / np.float32(math.sqrt(1 - self.betas[1] ** self.steps)) + np.float32(self.eps)
        weight -= size * first / root


Factor = Callable[[int], float]


def schedule(args: Namespace, total: int) -> Factor:
    """The factor on the learning rate after n steps (diffusers' schedules); raises ValueError as they do."""
    name = args.lr_scheduler
    warmup = args.lr_warmup_steps or 0
    warmup = int(warmup * total) if isinstance(warmup, float) else warmup
    decay = args.lr_decay_steps or 0
    decay = int(decay * total) if isinstance(decay, float) else decay
    cycles, power, least = args.lr_scheduler_num_cycles, args.lr_scheduler_power, args.lr_scheduler_min_lr_ratio or 0.0

    def share(step: int) -> float:
        return (step - warmup) / max(1, total - warmup)

    def stable(step: int) -> float:
        if step < total - decay:
            return 1.0
        done = (step - (total - decay)) / max(1, decay)
        return max(least, (1 - least) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))) + least)

    rate = args.learning_rate or 1.0
    after: dict[str, Factor] = {
        "constant": lambda _: 1.0,
        "constant_with_warmup": lambda _: 1.0,
        "linear": lambda step: max(0.0, 1.0 - share(step)),
        "cosine": lambda step: max(0.0, 0.5 * (1.0 + math.cos(math.pi * share(step)))),
        "cosine_with_restarts": lambda step: (
            0.0 if share(step) >= 1 else max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * share(step)) % 1.0))))
        ),
        "polynomial": lambda step: (
            1e-7 / rate if step > total else (1 - 1e-7 / rate) * (1 - share(step)) ** power + 1e-7 / rate
        ),
        "cosine_with_min_lr": lambda step: (
            0.5 * (1.0 + math.cos(math.pi * min(share(step), 1.0))) * (1 - least) + least
        ),
        "inverse_sqrt": lambda step: 1.0 / math.sqrt((step + (warmup or 1) - warmup) / (warmup or 1)),
        "warmup_stable_decay": stable,
    }
    if name not in after:
        raise ValueError(f"{name!r} is not a valid SchedulerType")
    if name == "constant" and warmup:
        raise ValueError(f"{name} does not require `num_warmup_steps`. Set None or 0.")
    return lambda step: step / max(1, warmup) if step < warmup else after[name](step)
