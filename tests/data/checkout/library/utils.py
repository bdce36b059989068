import argparse


def add_logging_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--console_log_level", type=str, default=None, choices=["INFO", "WARNING"], help="level")
