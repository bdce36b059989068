import argparse
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from voluptuous import Any, Required


def add_config_arguments(parser: argparse.ArgumentParser):
    parser.add_argument("--dataset_config", type=Path, default=None, help="the dataset file")


@dataclass
class BaseSubsetParams:
    image_dir: Optional[str] = None
    num_repeats: int = 1
    caption_separator: str = (",",)
    ripple: float = 0.5


@dataclass
class DreamBoothSubsetParams(BaseSubsetParams):
    caption_extension: str = ".caption"


@dataclass
class BaseDatasetParams:
    resolution: Optional[tuple] = None


@dataclass
class DreamBoothDatasetParams(BaseDatasetParams):
    batch_size: int = 1


class ConfigSanitizer:
    @staticmethod
    def __validate_and_convert_twodim(klass, value): ...

    @staticmethod
    def __validate_and_convert_scalar_or_twodim(klass, value): ...

    SUBSET_ASCENDABLE_SCHEMA = {
        "num_repeats": int,
        "caption_separator": str,
        "face_crop_aug_range": functools.partial(__validate_and_convert_twodim.__func__, float),
        "ripple": Any(float, int),
    }
    DO_SUBSET_ASCENDABLE_SCHEMA = {"caption_dropout_rate": Any(float, int)}
    DB_SUBSET_ASCENDABLE_SCHEMA = {"caption_extension": str}
    DB_SUBSET_DISTINCT_SCHEMA = {Required("image_dir"): str, "is_reg": bool}
    FT_SUBSET_DISTINCT_SCHEMA = {Required("metadata_file"): str}
    CN_SUBSET_ASCENDABLE_SCHEMA = {"caption_extension": str}
    CN_SUBSET_DISTINCT_SCHEMA = {Required("conditioning_data_dir"): str}
    DATASET_ASCENDABLE_SCHEMA = {
        "batch_size": int,
        "resolution": functools.partial(__validate_and_convert_scalar_or_twodim.__func__, int),
    }
    ARGPARSE_OPTNAME_TO_CONFIG_OPTNAME = {"train_batch_size": "batch_size"}
