"""Checks of the pictures themselves, from what their headers say: rotation, transparency, and how they divide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.config.check_options import DATASET, TRAIN, error, first_names, info, warning
from core.config.heads import ALPHA
from core.config.resolved import ResolvedDataset
from core.problems import Problem
from core.text import count_of

if TYPE_CHECKING:
    from core.config.plan import Plan
    from core.config.survey import FolderFacts
    from core.workspace import Workspace

_FEW = 30


def check_pictures(
    facts: FolderFacts, values: Mapping[str, Any], workspace: Workspace, train: Mapping[str, Any]
) -> Iterator[Problem]:
    """What viewers show otherwise than the trainer reads (train_util.py, load_image: no EXIF, alpha dropped)."""
    where = workspace.key_of(facts.path)
    turned, clear = facts.remembered("looks", lambda: _looks(facts))
    if turned:
        message = f"{count_of(len(turned), 'picture')} turned by viewers, and not by the trainer: {first_names(turned)}"
        yield warning("KT145", where, message, "Save them as they are seen: kohya-tui upright DATASET")
    if clear and not values.get("alpha_mask") and not train.get("alpha_mask"):
        message = f"{count_of(len(clear), 'picture')} with an alpha channel: {first_names(clear)}"
        hint = "What is transparent trains in the colour below it, often black. Flatten it, or set alpha_mask = true."
        yield info("KT144", where, message, hint)
    if values.get("face_crop_aug_range"):
        # train_util.py, load_image_with_face_info: int() of the last four parts
        odd = [name for name in facts.images if not _is_face_name(name)]
        if odd:
            message = f"{count_of(len(odd), 'name')} with four parts that are no numbers: {first_names(odd)}"
            yield error("KT146", where, message, "Remove face_crop_aug_range, or the underscores from the names.")


def _looks(facts: FolderFacts) -> tuple[list[str], list[str]]:
    """Pictures that viewers turn, and those with an alpha channel."""
    turned, clear = [], []
    for name, flags in zip(facts.images, facts.flags, strict=True):
        if flags != 1:
            if flags & ~ALPHA != 1:
                turned.append(name)
            if flags & ALPHA:
                clear.append(name)
    return turned, clear


def _is_face_name(name: str) -> bool:
    parts = name[: name.rindex(".")].split("_")
    return len(parts) < 5 or all(part.strip().lstrip("+-").isdecimal() for part in parts[-4:])


def check_division(datasets: Sequence[ResolvedDataset], train: Mapping[str, Any], plan: Plan) -> Iterator[Problem]:
    """How the pictures fill batches and steps; nothing of that where the plan could not be made."""
    if not plan.total_steps:
        return
    batch = datasets[0].values.get("batch_size") if len(datasets) == 1 else None
    if isinstance(batch, int) and batch > 1 and len(plan.buckets) > 1:
        small = [f"{size[0]}×{size[1]}" for size, count in plan.buckets.items() if count < batch]
        if small:
            have = "has" if len(small) == 1 else "have"
            message = (
                f"{count_of(len(small), 'bucket')} {have} fewer pictures than a batch of {batch}: {first_names(small)}"
            )
            hint = "Their batches are smaller, which no message says. Crop those pictures to a usual shape."
            yield info("KT119", f"{DATASET}: {datasets[0].where}", message, hint)
    if plan.warmup_steps >= plan.total_steps and train.get("lr_scheduler", "constant") != "constant":
        message = (
            f"{plan.warmup_steps:,} steps of warm-up in a training of {plan.total_steps:,}: its rate is never reached"
        )
        yield warning("KT258", f"{TRAIN}: lr_warmup_steps", message, "Write 0.05 for a twentieth of all steps.")


def check_advice(datasets: Sequence[ResolvedDataset], train: Mapping[str, Any], plan: Plan) -> Iterator[Problem]:
    """What the guide for character LoRAs advises. Hints: a training goes well without heeding them."""
    if not plan.total_steps:
        return
    own = [subset for each in datasets for subset in each.subsets if not subset.values.get("is_reg")]
    if 0 < plan.images < _FEW and len(own) == sum(len(each.subsets) for each in datasets):
        message = f"{count_of(plan.images, 'picture')}: 30 to 100 of much variety are usual for a character"
        yield info("KT150", DATASET, message, "Add some in other poses and clothes, or train fewer steps.")
    sides = [min(each.resolution) for each in datasets if each.resolution is not None]
    if sides and max(sides) < 512:
        message = f"{max(sides)} pixels is below what base models were made for"
        yield info("KT151", f"{DATASET}: {datasets[0].where}.resolution", message, "768 or 1024 shows details.")
    dim = train.get("network_dim")
    if isinstance(dim, int) and dim > 128 and str(train.get("network_module", "networks.lora")) == "networks.lora":
        message = f"{dim} makes large files that overfit easily; 64 to 128 are enough for a character"
        yield info("KT152", f"{TRAIN}: network_dim", message, "Set network_dim = 64 and network_alpha = 32.")
