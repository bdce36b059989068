"""What a tag run is asked to do: every option of sd-scripts' tagger under its own name, and a few of ours.

`parse_command` reads the words behind `kohya-tui tag`, also when they are a whole sd-scripts command line that was
pasted there.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from core.problems import UserError
from core.tagging.models import DEMO

if TYPE_CHECKING:
    from core.workspace import Workspace

POLICIES = ("overwrite", "append", "skip", "only-untagged")
"""`skip` leaves every image alone that has a caption file with text, `only-untagged` those whose caption holds more
than the trigger word.
"""
PROVIDERS = ("auto", "cuda", "tensorrt", "tensorrt-rtx", "migraphx", "rocm", "openvino", "cpu")
MERGES = ("union", "intersection", "subtract")
"""What several models' tags become: those of any, those of all, those of the first that no other names."""
ORDERS = ("auto", "model", "score", "name")
"""`auto` is sd-scripts' own order: by score for cl_tagger's format, by the model's labels for all others."""
THRESHOLDS = ("general", "character", "copyright", "meta", "model", "artist")
_SCRIPT = "tag_images_by_wd14_tagger.py"
_PYTHON = re.compile(r"(?:.*/)?python[0-9.]*")


@dataclass(frozen=True, slots=True)
class CaptionOptions:
    """From scores to text (core.tagging.captioning). A category threshold of None is `thresh`; above 1 switches the
    category off.
    """

    thresh: float = 0.35
    general_threshold: float | None = None
    character_threshold: float | None = None
    copyright_threshold: float | None = None
    meta_threshold: float | None = None
    model_threshold: float | None = None
    artist_threshold: float | None = None
    remove_underscore: bool = False
    undesired_tags: str = ""
    use_rating_tags: bool = False
    use_rating_tags_as_last_tag: bool = False
    use_quality_tags: bool = False
    use_quality_tags_as_last_tag: bool = False
    character_tags_first: bool = False
    always_first_tags: str | None = None
    caption_separator: str = ", "
    tag_replacement: str | None = None
    character_tag_expand: bool = False
    debug: bool = False
    sd_compat: bool = False
    author_thresholds: bool = False
    """Where `thresh` or a category has no value of its own: the ones that the model's author published."""
    general_mcut: bool = False
    """Instead of a fixed threshold, the middle of the largest gap between the image's own scores (MCut)."""
    character_mcut: bool = False
    tag_thresholds: str = ""
    """`blush=0.6;smile=0.5`: thresholds of single tags, before those of their category."""
    blacklist: str = ""
    """Names of sets of tags that are never written (core.tagging.cleaning), separated by commas."""
    drop_overlap: bool = False
    """Leave out `long hair` beside `very long hair`."""
    tag_order: str = "auto"
    merge: str = "union"


@dataclass(frozen=True, slots=True)
class TagRequest:
    """A tag run before it has a folder. `target` is a dataset's name, `NAME/SUBSET` or a folder, as the user wrote
    it.
    """

    target: str
    caption: CaptionOptions = field(default_factory=CaptionOptions)
    model: str | None = None
    """Repository, folder or `demo`; None = the tagger of the settings."""
    more_models: tuple[str, ...] = ()
    """Further models of the same pass; their tags are merged (`caption.merge`)."""
    revision: str | None = None
    """Commit or tag of the repository; None = `main`, or what the descriptor pins."""
    model_dir: str | None = None
    force_download: bool = False
    batch_size: int | None = None
    """None = chosen for the device."""
    workers: int | None = None
    """Decoding threads (sd-scripts' `max_data_loader_n_workers`); None = one per core."""
    output_path: str | None = None
    caption_extension: str = ".txt"
    recursive: bool = False
    frequency_tags: bool = False
    policy: str = "overwrite"
    trigger: str | None = None
    provider: str = "auto"
    require_gpu: bool = False
    devices: tuple[int, ...] = ()
    """GPUs by number, one session each; empty = the first."""
    vram_limit: float | None = None
    """Gigabytes that a session may take of its GPU."""
    fp16: bool = False
    threads: int | None = None
    """Threads per operator on the CPU; None = the physical cores."""
    from_scores: bool = False
    """Never load the model: captions from stored scores only."""
    fresh: bool = False
    """Ask the model again, also where the scores of an unchanged image are stored."""
    dry_run: bool = False
    """Write no caption; tell what each would become."""
    detach: bool = False
    json: bool = False

    def run_spec(self, workspace: Workspace | None = None) -> dict[str, Any]:
        """The value of `tag` in a run's spec.json: every path absolute, the folders found.

        Raises UserError when `target` is no dataset and no folder.
        """
        from core.dataset.captions import check_tag, trigger_tags

        if self.trigger is not None:
            trigger_tags(self.trigger)
        check_tag(self.caption.tag_replacement or "", "text of --tag_replacement")
        folders, names = _folders(workspace, self.target, self.recursive)
        options = asdict(self.caption) | {
            "model_dir": _absolute(self.model_dir),
            "force_download": self.force_download,
            "batch_size": self.batch_size,
            "max_data_loader_n_workers": self.workers,
            "output_path": _absolute(self.output_path),
            "caption_extension": self.caption_extension,
            "recursive": self.recursive,
            "frequency_tags": self.frequency_tags,
            "require_gpu": self.require_gpu,
            "revision": self.revision,
            "devices": list(self.devices),
            "vram_limit": self.vram_limit,
            "fp16": self.fp16,
            "threads": self.threads,
            "from_scores": self.from_scores,
            "fresh": self.fresh,
            "dry_run": self.dry_run,
        }
        return {
            "target": self.target,
            "folders": [str(folder) for folder in folders],
            "names": names,
            "options": options,
            "model": None if self.model is None else _model_name(self.model),
            "more_models": [_model_name(name) for name in self.more_models],
            "policy": self.policy,
            "trigger": self.trigger,
            "provider": self.provider,
            "workspace": None if workspace is None else str(workspace.root),
        }


def caption_options(options: dict[str, Any]) -> CaptionOptions:
    """The caption options among the `options` of a run's spec; the others are left out."""
    known = {item.name for item in fields(CaptionOptions)}
    return CaptionOptions(**{key: value for key, value in options.items() if key in known})


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


def split_list(text: str | None, separator: str) -> list[str]:
    """The tags of `a, b,c`, split at the separator without its spaces (at commas when nothing is left of it)."""
    return [tag.strip() for tag in (text or "").split(separator.strip() or ",") if tag.strip()]


def parse_replacements(text: str | None) -> list[tuple[str, str]]:
    """`--tag_replacement` as pairs of source and target: `a,b;c,d`, with `\\,` and `\\;` for the characters
    themselves.

    Raises UserError when an entry has not exactly two parts.
    """
    pairs = []
    for entry in re.split(r"(?<!\\);", text or ""):
        if not entry.strip():
            continue
        parts = [re.sub(r"\\([,;])", r"\1", part).strip() for part in re.split(r"(?<!\\),", entry)]
        if len(parts) != 2 or not parts[0]:
            raise UserError(
                f"--tag_replacement: {entry.strip()!r} is not of the form source,target",
                r"Write source1,target1;source2,target2 and \, or \; for a comma or semicolon inside a tag.",
            )
        pairs.append((parts[0], parts[1]))
    return pairs


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
        "--policy", choices=POLICIES, help="what happens to a caption that is there (default: overwrite)"
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
    parse_replacements(caption.tag_replacement)
    extension = _extension(values.caption_extention or values.caption_extension)
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


def _extension(text: str) -> str:
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


def _model_name(name: str) -> str:
    """A folder's absolute path; other names as they are."""
    folder = Path(name).expanduser()
    return str(folder.absolute()) if name != DEMO and folder.is_dir() else name


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())


def _folders(workspace: Workspace | None, target: str, recursive: bool) -> tuple[list[Path], list[str]]:
    """The folders to tag, and how `--output_path` writes each: as the user did for a folder, absolute for a dataset.

    A folder with images in it means just this folder, as with sd-scripts; a dataset means its subsets.
    """
    from core.dataset.scan import resolve_dir
    from core.tagging.listing import find_images

    written = Path(target).expanduser()
    by_name = (
        workspace is not None and not target.startswith((".", "/", "~")) and (workspace.train_data / target).is_dir()
    )
    if not by_name and written.is_dir() and (recursive or find_images(written)):
        return [written.absolute()], [str(written)]
    folders = [Path(folder) for folder in resolve_dir(workspace, target)]
    return folders, [str(folder) for folder in folders]
