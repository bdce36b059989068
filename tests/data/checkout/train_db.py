import argparse

from library import train_util


def setup_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    train_util.add_dataset_arguments(parser, True)
    train_util.add_training_arguments(parser, False)
    parser.set_defaults(max_train_steps=800)
    return parser
