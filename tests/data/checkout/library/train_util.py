import argparse

import no_such_package  # is never imported


def add_dataset_arguments(parser, support_dreambooth: bool, support_caption: bool = True):
    parser.add_argument("--shuffle_caption", action="store_true", help="shuffle")
    parser.add_argument("--caption_extension", type=str, default=".caption", help="suffix")
    if support_dreambooth:
        parser.add_argument("--reg_data_dir", type=str, default=None, help="folder")
    if support_caption:
        parser.add_argument("--in_json", type=str, default=None, help="metadata")


def add_training_arguments(parser: argparse.ArgumentParser, support_dreambooth: bool):
    parser.add_argument("--pretrained_model_name_or_path", type=str, default=None, help="model")
    parser.add_argument("--learning_rate", type=float, default=2.0e-6, help="rate")
    parser.add_argument("--max_train_steps", type=int, default=1600, help="steps")
    parser.add_argument("--max_train_epochs", type=int, default=None, help="epochs")
    parser.add_argument(
        "--mixed_precision", type=str, default="no", choices=["no", "fp16", "bf16"], help="precision / 精度"
    )
    if not support_dreambooth:
        parser.add_argument("--only_without", action="store_true", help="never with DreamBooth")


def add_optimizer_arguments(parser: argparse.ArgumentParser):
    def int_or_float(value):
        return float(value)

    parser.add_argument("--optimizer_type", type=str, default="", help="optimizer")
    parser.add_argument("--lr_warmup_steps", type=int_or_float, default=0, help="warm-up")


def add_sdxl_arguments(parser: argparse.ArgumentParser, support_text_encoder_caching: bool = True):
    if support_text_encoder_caching:
        parser.add_argument("--cache_text_encoder_outputs", action="store_true", help="cache")


def get_optimizer(args, trainable_params):
    optimizer_type = args.optimizer_type.lower()
    if optimizer_type == "AdamW".lower():
        return "AdamW"
    elif optimizer_type.endswith("8bit".lower()):
        return "8bit"
    elif optimizer_type == "Zephyr".lower():
        return "new here"
