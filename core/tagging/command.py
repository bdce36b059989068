"""The words behind `kohya-tui tag`, also when they are a whole sd-scripts command line that was pasted there."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import NoReturn

from core.problems import UserError
from core.tagging.cleaning import check_options
from core.tagging.options import (
    MERGES,
    ORDERS,
    POLICIES,
    PROVIDERS,
    THRESHOLDS,
    CaptionOptions,
    TagRequest,
)

_SCRIPT = "tag_images_by_wd14_tagger.py"
_PYTHON = re.compile(r"(?:.*/)?python[0-9.]*")


def parse_command(argv: Sequence[str]) -> TagRequest:
    """The request in the words behind `kohya-tui tag`.

    A pasted sd-scripts line works as it is: a leading `python …/tag_images_by_wd14_tagger.py`, lone backslashes and
    `--onnx` are accepted. Raises UserError that names the option; `--help` is the caller's to answer (`usage`).
    """
    words = _unpasted(argv)
    values, strangers = _parser().parse_known_args(words)
    unknown = [word for word in strangers if word.startswith("-") and not _is_number(word)]
    if unknown:
        raise UserError(f"There is no option {unknown[0]}", _suggestion(unknown[0]))
    targets = [word for word in [*values.target, *strangers] if word]
    if not targets:
        raise UserError("Which images shall be tagged?", "Name a dataset or a folder: kohya-tui tag DATASET-OR-DIR")
    if len(targets) > 1:
        raise UserError(
            f"One dataset or folder at a time, not {len(targets)}: {', '.join(targets)}",
            "A name with spaces needs quotes around it.",
        )
    return _request(values, targets[0])


def usage() -> str:
    """The help text of `kohya-tui tag`."""
    return _parser().format_help()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"kohya-tui tag: {message}", "All options: kohya-tui tag --help")


@cache
def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="kohya-tui tag",
        usage="kohya-tui tag DATASET-OR-DIR [options]",
        description="Tag images. Every option of sd-scripts' tag_images_by_wd14_tagger.py has its name here.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("target", nargs="*", metavar="DATASET-OR-DIR", help="a dataset, DATASET/SUBSET, or any folder")

    model = parser.add_argument_group("model")
    model.add_argument("--repo_id", "--model", help="repository on Hugging Face, a folder, or `demo`")
    model.add_argument("--also", action="append", default=[], metavar="MODEL", help="a further model of the same pass")
    model.add_argument(
        "--merge", choices=MERGES, default="union", help="tags of any model, of all, of the first only (default: union)"
    )
    model.add_argument("--revision", help="commit or tag of the repository (default: main)")
    model.add_argument("--model_dir", help="folder with models as sd-scripts keeps them; downloads go there, too")
    model.add_argument(
        "--force_download", action="store_true", help="check the model against the hub, fetch what differs"
    )
    model.add_argument("--onnx", action="store_true", help="accepted, always so")
    model.add_argument("--provider", choices=PROVIDERS, default="auto", help="where the model runs")
    model.add_argument("--require-gpu", "--require_gpu", action="store_true", help="fail rather than run on the CPU")
    model.add_argument("--device", type=_devices, default=(), metavar="N,N", help="GPUs by number (default: the first)")
    model.add_argument("--vram-limit", "--vram_limit", type=_gigabytes, metavar="GB", help="most memory of each GPU")
    model.add_argument("--fp16", action="store_true", help="half precision on the GPU; the run says what it changes")
    model.add_argument("--threads", type=_positive, help="threads of the model on the CPU (default: physical cores)")
    model.add_argument("--batch_size", type=_positive, help="images at once (default: by device)")
    model.add_argument(
        "--max_data_loader_n_workers", type=_count, help="threads that read images (default: one per core)"
    )

    files = parser.add_argument_group("files")
    files.add_argument("--recursive", action="store_true", help="images in subfolders, too")
    files.add_argument("--caption_extension", default=".txt", help="ending of caption files (default: .txt)")
    files.add_argument("--caption_extention", help=argparse.SUPPRESS)  # sd-scripts keeps its old misspelling alive
    files.add_argument(
        "--policy",
        choices=POLICIES,
        help="a caption that is there: overwrite (default), append to, skip; only-untagged: skip unless only the "
        "trigger word is in it",
    )
    files.add_argument("--append_tags", action="store_true", help="the same as --policy append")
    files.add_argument("--output_path", help="write captions into this .json or .jsonl instead of caption files")
    files.add_argument(
        "--from-scores", "--from_scores", action="store_true", help="captions from stored scores, without the model"
    )
    files.add_argument("--fresh", action="store_true", help="ask the model again, also for images that did not change")
    files.add_argument("--dry-run", "--dry_run", action="store_true", help="write nothing, list what would change")
    files.add_argument("--trigger", metavar="WORD", help="first tag of every caption written; `a, b` is two")

    tags = parser.add_argument_group("tags")
    tags.add_argument("--thresh", type=float, default=0.35, help="lowest confidence of a tag (default: 0.35)")
    for category in THRESHOLDS:
        tags.add_argument(f"--{category}_threshold", type=float, help=f"for {category} tags; above 1 leaves them out")
    tags.add_argument(
        "--author-thresholds", "--author_thresholds", action="store_true", help="the model's own thresholds"
    )
    tags.add_argument("--tag-thresholds", "--tag_thresholds", default="", metavar="TAG=T;TAG=T", help="for single tags")
    for category in ("general", "character"):
        tags.add_argument(
            f"--{category}-mcut", f"--{category}_mcut", action="store_true", help=f"adaptive for {category} tags (MCut)"
        )
    tags.add_argument("--blacklist", default="", metavar="SET,SET", help="sets of tags that are never written")
    tags.add_argument(
        "--drop-overlap", "--drop_overlap", action="store_true", help="no `long hair` beside `very long hair`"
    )
    tags.add_argument("--tag-order", "--tag_order", choices=ORDERS, default="auto", help="order of the tags")
    tags.add_argument("--remove_underscore", action="store_true", help="spaces for underscores, but not in emoticons")
    tags.add_argument("--undesired_tags", default="", help="tags that are never written, e.g. `realistic,photo`")
    tags.add_argument("--use_rating_tags", action="store_true", help="the rating as first tag")
    tags.add_argument("--use_rating_tags_as_last_tag", action="store_true", help="the rating as last tag")
    tags.add_argument("--use_quality_tags", action="store_true", help="the quality as first tag (models that have it)")
    tags.add_argument("--use_quality_tags_as_last_tag", action="store_true", help="the quality as last tag")
    tags.add_argument("--character_tags_first", action="store_true", help="characters before general tags")
    tags.add_argument("--character_tag_expand", action="store_true", help="`name_(series)` becomes `name, series`")
    tags.add_argument("--always_first_tags", help="these come first where an image has them, e.g. `1girl,1boy`")
    tags.add_argument("--caption_separator", default=", ", help="between two tags (default: comma and space)")
    tags.add_argument(
        "--tag_replacement", help=r"`source,target;source,target`; \, and \; for the characters themselves"
    )
    tags.add_argument("--sd-compat", "--sd_compat", action="store_true", help="exactly the text that sd-scripts writes")

    report = parser.add_argument_group("report")
    report.add_argument("--frequency_tags", action="store_true", help="list how often each tag came")
    report.add_argument("--debug", action="store_true", help="list the tags of each image by kind")
    report.add_argument("--detach", action="store_true", help="return at once; the run goes on")
    report.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser


def _request(values: argparse.Namespace, target: str) -> TagRequest:
    if values.append_tags and values.policy not in (None, "append"):
        raise UserError(f"--append_tags and --policy {values.policy} exclude each other", "Leave one of them out.")
    separator = values.caption_separator.replace("\\n", "\n")
    caption = CaptionOptions(
        **{item.name: getattr(values, item.name) for item in fields(CaptionOptions)} | {"caption_separator": separator}
    )
    if values.dry_run and values.output_path:
        raise UserError(
            "--dry-run and --output_path exclude each other", "Captions in a file replace none: leave one out."
        )
    if values.fresh and values.from_scores:
        raise UserError("--fresh and --from-scores exclude each other", "Leave one of them out.")
    check_options(caption)
    extension = caption_extension(values.caption_extention or values.caption_extension)
    if values.trigger is not None:
        from core.dataset.captions import trigger_tags

        trigger_tags(values.trigger)
    return TagRequest(
        target=target,
        caption=caption,
        model=values.repo_id,
        more_models=tuple(values.also),
        revision=values.revision,
        model_dir=values.model_dir,
        force_download=values.force_download,
        batch_size=values.batch_size,
        workers=values.max_data_loader_n_workers,
        output_path=values.output_path,
        caption_extension=extension,
        recursive=values.recursive,
        frequency_tags=values.frequency_tags,
        policy=values.policy or ("append" if values.append_tags else "overwrite"),
        trigger=values.trigger,
        provider=values.provider,
        require_gpu=values.require_gpu,
        devices=values.device,
        vram_limit=values.vram_limit,
        fp16=values.fp16,
        threads=values.threads,
        from_scores=values.from_scores,
        fresh=values.fresh,
        dry_run=values.dry_run,
        detach=values.detach,
        json=values.json,
    )


def caption_extension(text: str) -> str:
    """The ending of caption files, with its dot. Raises UserError for one that cannot be."""
    from core.tagging.listing import EXTENSIONS

    if "/" in text or not text.strip(". "):
        raise UserError(f"--caption_extension {text!r} is not the ending of a file name", "Write for example .txt")
    if text.lower() in EXTENSIONS:
        raise UserError(f"--caption_extension {text} would overwrite the pictures", "Write for example .txt")
    return text if "." in text else f".{text}"


def _unpasted(argv: Sequence[str]) -> list[str]:
    """Without what a shell line around the options leaves: line-end backslashes, the interpreter, the script."""
    takes_value = {text for action in _parser()._actions if action.nargs is None for text in action.option_strings}
    words: list[str] = []
    for word in argv:
        is_value = bool(words) and words[-1] in takes_value  # `--caption_separator " "` is meant
        if word.strip().strip("\\") or (is_value and "\\" not in word):
            words.append(word.lstrip() if word.lstrip().startswith("--") and not is_value else word)
    if words and _PYTHON.fullmatch(words[0]):
        words = words[1:]
    if words and words[0].replace("\\", "/").rsplit("/", 1)[-1] == _SCRIPT:
        words = words[1:]
    return words


def _suggestion(option: str) -> str:
    from difflib import get_close_matches

    name = option.split("=", 1)[0]
    known = [text for action in _parser()._actions for text in action.option_strings]
    near = get_close_matches(name.replace("-", "_").replace("__", "--", 1), known, 1) or get_close_matches(
        name, known, 1
    )
    return f"Did you mean {near[0]}?" if near else "All options: kohya-tui tag --help"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _devices(text: str) -> tuple[int, ...]:
    numbers = [_count(part) for part in text.split(",")]
    return tuple(dict.fromkeys(numbers))


def _gigabytes(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of gigabytes")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value
