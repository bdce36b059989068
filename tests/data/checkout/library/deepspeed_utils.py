import argparse


def add_deepspeed_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--deepspeed", action="store_true", help="several GPUs")
    parser.add_argument("--zero_stage", type=int, default=2, choices=[0, 1, 2, 3], help="stage")
