"""A trainer laid out as sd-scripts is, for the reader of its options. Running it is a mistake, and says so."""

import argparse
from pathlib import Path

import library.config_util as config_util
import library.train_util as train_util
from library import deepspeed_utils
from library.utils import add_logging_arguments
from library.shifts import SHIFTS

raise SystemExit(Path(__file__).with_name("it_was_run").write_text("yes"))

BLOCKS = 19


def setup_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    add_logging_arguments(parser)
    train_util.add_dataset_arguments(parser, True, support_caption=False)
    train_util.add_training_arguments(parser, True)
    train_util.add_optimizer_arguments(parser)
    deepspeed_utils.add_deepspeed_arguments(parser)
    config_util.add_config_arguments(parser)

    parser.add_argument("--network_module", type=str, default=None, help="module to train / 学習対象のモジュール")
    parser.add_argument("--network_dim", type=int, default=None, help="rank")
    parser.add_argument("--network_alpha", type=float, default=1, help="alpha")
    parser.add_argument("--network_args", type=str, default=None, nargs="*", help="more, as key=value")
    parser.add_argument("--text_encoder_lr", type=float, default=None, nargs="*", help="rates")
    parser.add_argument("--wave_shape", choices=SHIFTS, default=SHIFTS[0], help="new here")
    parser.add_argument("--wave_file", type=str, default=None, help=f"one of {BLOCKS} " + "waves")
    return parser
