"""The command line: every option of train_network.py, with argparse's rules and its --config_file."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.demo.trainer.log import logger

CATALOGUE = Path(__file__).resolve().parents[2] / "config" / "catalogue"


def _int_or_float(text: str) -> int | float:
    """A number of steps (`100`), or a share of all steps (`0.1`, `10%`)."""
    if text.endswith("%"):
        return float(text[:-1]) / 100
    value = float(text)
    return int(value) if value >= 1 and value.is_integer() else value


TYPES: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "number": _int_or_float}


def make_parser() -> argparse.ArgumentParser:
    """The parser of train_network.py, built from the catalogue of its options."""
    options = json.loads((CATALOGUE / "options.json").read_text(encoding="utf-8"))["options"]
    parser = argparse.ArgumentParser(prog="train_network.py")
    for name, (kind, default, *more) in options.items():
        flag = f"--{name}"
        if kind == "bool":
            parser.add_argument(flag, action="store_true", default=default)
        elif kind == "list":
            parser.add_argument(flag, type=TYPES.get(more[0], str), nargs="*", default=default)
        elif kind == "choice":
            of_ints = any(isinstance(choice, int) for choice in more[0])
            parser.add_argument(flag, type=int if of_ints else str, choices=more[0], default=default)
        else:
            parser.add_argument(flag, type=TYPES.get(kind, str), default=default)
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Options of the command line over those of --config_file.

    The file is flattened one level and neither its names nor its values are checked. An unknown option on the command
    line ends the process with status 2, a missing file with status 1.
    """
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.config_file:
        path = Path(args.config_file if args.config_file.endswith(".toml") else args.config_file + ".toml")
        if not path.exists():
            logger.info(f"{path} not found.")
            sys.exit(1)
        logger.info(f"Loading settings from {path}...")
        with path.open("rb") as file:
            document = tomllib.load(file)
        flat: dict[str, Any] = {}
        for name, value in document.items():
            if isinstance(value, dict):
                flat.update(value)
            else:
                flat[name] = value
        args = parser.parse_args(argv, namespace=argparse.Namespace(**flat))
    return args


def prepare(args: argparse.Namespace) -> None:
    """The changes that train_network.py makes to its options before anything is loaded."""
    if args.cache_latents_to_disk and not args.cache_latents:
        args.cache_latents = True
        logger.warning("cache_latents_to_disk is enabled, so cache_latents is also enabled")
    if args.resolution is not None:
        numbers = [int(part) for part in args.resolution.split(",")]  # only "512" or "512,768": an int dies here
        if len(numbers) == 1:
            numbers *= 2
        assert len(numbers) == 2, (
            f"resolution must be 'size' or 'width,height' / "
            f"resolution（解像度）は'サイズ'または'幅','高さ'で指定してください: {args.resolution}"
        )
        args.resolution = (numbers[0], numbers[1])
    if args.face_crop_aug_range is not None:
        args.face_crop_aug_range = tuple(float(part) for part in args.face_crop_aug_range.split(","))
    if args.seed is None:
        args.seed = random.randint(0, 2**32 - 1)


def pairs(items: Sequence[str] | None) -> dict[str, str]:
    """`["conv_dim=4"]` as a dict; a bare string, taken letter by letter, raises ValueError as in the real one."""
    out: dict[str, str] = {}
    for item in items or ():
        key, value = item.split("=", 1)
        out[key] = value
    return out
