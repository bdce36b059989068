"""What a tag run is asked to do: every option of sd-scripts' tagger under its own name, and a few of ours."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.problems import UserError
from core.tagging import providers
from core.tagging.models import DEMO

if TYPE_CHECKING:
    from core.workspace import Workspace

POLICIES = ("overwrite", "append", "skip", "only-untagged")
"""`skip` leaves every image alone that has a caption file with text, `only-untagged` those whose caption holds more
than the trigger word.
"""
APPENDING = ("append", "only-untagged")
"""Policies that keep what stands in a caption."""
PROVIDERS = ("auto", *providers.PROVIDERS)
MERGES = ("union", "intersection", "subtract")
"""What several models' tags become: those of any, those of all, those of the first that no other names."""
ORDERS = ("auto", "model", "score", "name")
"""`auto` is sd-scripts' own order: by score for cl_tagger's format, by the model's labels for all others."""
THRESHOLDS = ("general", "character", "copyright", "meta", "model", "artist")


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
            "trigger_words": self.trigger_words(workspace),
            "provider": self.provider,
            "workspace": None if workspace is None else str(workspace.root),
        }

    def trigger_words(self, workspace: Workspace | None) -> list[str]:
        """For the policy `only-untagged`: the words that stand in a caption which nobody tagged yet.

        The trigger of this run or of the settings, and the name of the dataset.
        """
        if self.policy != "only-untagged":
            return []
        from core.settings import load

        trigger = self.trigger or load(None if workspace is None else workspace.root).trigger
        name = next(iter(Path(self.target).parts), "")
        is_dataset = workspace is not None and name in workspace.dataset_names()
        return [word for word in (trigger, name if is_dataset else None) if word]


def caption_options(options: dict[str, Any]) -> CaptionOptions:
    """The caption options among the `options` of a run's spec; the others are left out."""
    known = {item.name for item in fields(CaptionOptions)}
    return CaptionOptions(**{key: value for key, value in options.items() if key in known})


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
