import argparse

import train_network
from library import train_util


def setup_parser() -> argparse.ArgumentParser:
    parser = train_network.setup_parser()
    train_util.add_sdxl_arguments(parser)
    return parser
