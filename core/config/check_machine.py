"""Checks of what the config needs outside itself: models, packages of the trainer's Python, disk, GPUs, other runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.check_options import TRAIN, error, info, warning
from core.config.environment import Environment, attention_package, check_bf16, check_torch
from core.config.plan import Plan
from core.files import natural_key
from core.problems import Problem
from core.text import count_of, human_bytes, printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.hardware import GpuReading
    from core.settings import Settings
    from core.workspace import Workspace

_PACKAGES: tuple[tuple[str, str, str], ...] = (
    ("8bit", "bitsandbytes", "bitsandbytes"),
    ("paged", "bitsandbytes", "bitsandbytes"),
    ("prodigy", "prodigyopt", "prodigyopt"),
    ("dadapt", "dadaptation", "dadaptation"),
    ("schedulefree", "schedulefree", "schedulefree"),
)
"""Part of an optimizer's name → the module that sd-scripts imports for it, and its package."""
_INSTEAD = {
    "optimizer_type": "Or set optimizer_type = AdamW.",
    "network_module": "Or set network_module = networks.lora.",
    "log_with": "Or remove log_with.",
}
_OLD_GPUS = re.compile(r"GTX|RTX 20|TITAN (?:X|V|RTX)|\b(?:T4|V100|P100|P40|P4|M40|K80)\b|Quadro RTX", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that is under way, as far as the preflight minds: `gpu` is an index or None for any."""

    id: str
    config: str | None
    gpu: str | None = None


def check_sampling(config: Config, workspace: Workspace, script: str) -> Iterator[Problem]:
    """Prompts for the sample pictures; a run takes the config's own prompts.txt before what train.toml names."""
    train = config.effective()
    wanted = [
        key
        for key in ("sample_every_n_epochs", "sample_every_n_steps", "sample_at_first")
        if train.get(key) is True or (isinstance(train.get(key), int) and train[key] > 0)
    ]
    named = train.get("sample_prompts")
    own = config.prompts
    where = f"{TRAIN}: sample_prompts"
    usable = any(line.strip() and not line.startswith("#") for line in own.splitlines())
    if isinstance(named, str) and named and not (workspace.root / named).is_file():
        looks_like_text = ", " in named or not named.endswith((".txt", ".toml", ".json"))
        own_path = workspace.key_of(config.path("prompts"))
        if looks_like_text:
            message = "is a prompt, not a file: the trainer would draw no picture"
            yield warning("KT204", where, message, f"Write it into {own_path} and name that file.", fixable=True)
        elif named != own_path or not usable:
            yield warning(
                "KT204", where, f"there is no {named}: no picture is drawn", f"Write prompts into {own_path}."
            )
    elif isinstance(named, str) and named and not named.endswith((".txt", ".toml", ".json")) and not usable:
        message = "must end in .txt, .toml or .json: the trainer stops at the first sampling"
        yield error("KT223", where, message, "Rename the file.")
    if wanted and not usable and not named:
        hint = f"Write a prompt into prompts.txt, or remove {wanted[0]}."
        message = f"{wanted[0]} is set without prompts: the trainer stops at the first sampling"
        yield error("KT205", where, message, hint)
    if usable and wanted:
        yield from _prompt_lines(own, script)
    if usable and not wanted:
        yield info(
            "KT313", where, "no picture is drawn without sample_every_n_epochs", "Set sample_every_n_epochs = 1."
        )


def _prompt_lines(prompts: str, script: str) -> Iterator[Problem]:
    for number, line in enumerate(prompts.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        options = {part.split(" ", 1)[0].lower() for part in line.split(" --")[1:]}
        where = f"prompts.txt: line {number}"
        if not options >= {"w", "h"} and script == "sdxl_train_network.py":
            message = "has no size: 512×512 looks broken with SDXL"
            yield info("KT315", where, message, "Add --w 1024 --h 1024 to it.")
        if "d" not in options:
            yield info("KT316", where, "has no seed: epochs cannot be compared", "Add --d 42 to it.")


def check_packages(train: Mapping[str, Any], settings: Settings, found: Environment | None) -> Iterator[Problem]:
    """Packages that the config needs in the trainer's Python: as it answered, else only looked for on disk."""
    if settings.trainer == "demo":
        return
    needed = list(needed_packages(train))
    if found is not None and found.problem is None:
        for key, module, package in needed:
            yield from _asked(key, module, package, found)
        return
    folder = site_packages(settings)
    for key, module, package in needed:
        if folder is not None and _is_there(folder, module, settings):
            continue
        code = "KT403" if key == "xformers" else "KT404"
        hint = (
            "Set sdpa = true instead and remove xformers: the same speed without a package."
            if key == "xformers"
            else f"Install it there: pip install {package}. {_INSTEAD[key]}"
        )
        if folder is not None:
            message = f"needs the package {package}, which is not in {folder}"
            yield error(code, f"{TRAIN}: {key}", message, hint, fixable=key == "xformers")
        else:
            message = f"needs the package {package} in the trainer's Python"
            yield warning(code, f"{TRAIN}: {key}", message, hint, fixable=key == "xformers")


def modules_of(train: Mapping[str, Any]) -> frozenset[str]:
    """The modules that sd-scripts imports for this config beside its own."""
    return frozenset(module for _, module, _ in needed_packages(train))


def _asked(key: str, module: str, package: str, found: Environment) -> Iterator[Problem]:
    answer = found.packages.get(module)
    if answer is None or answer.works:
        return
    code = "KT403" if key == "xformers" else "KT404"
    instead = _INSTEAD.get(key, f"Or remove {key}.")
    if answer.error is None:
        message = f"needs the package {package}, which is not in {found.python}"
        hint = f"Install it there: {found.python} -m pip install {package}. {instead}"
    else:
        message = f"needs {package}, and {found.python} cannot import it: {printable(answer.error)}"
        hint = f"Install it anew, for this torch ({found.torch or 'which is not there either'}). {instead}"
    if key == "xformers":
        hint = "Set sdpa = true instead and remove xformers: the same speed without a package."
    yield error(code, f"{TRAIN}: {key}", message, hint, fixable=key == "xformers")


def needed_packages(train: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(option, module, package) of what sd-scripts imports for this config and does not bring itself."""
    if train.get("xformers") is True:
        yield "xformers", "xformers", "xformers"
    given = str(train.get("optimizer_type") or ("AdamW8bit" if train.get("use_8bit_adam") is True else ""))
    optimizer = given.lower()
    if "." in given:
        module = given.partition(".")[0]
        if module not in {"torch", "transformers", "library", "networks"}:
            yield "optimizer_type", module, module.replace("_", "-")
    elif optimizer == "lion" or train.get("use_lion_optimizer") is True:
        yield "optimizer_type", "lion_pytorch", "lion-pytorch"
    else:
        wanted = ((module, name) for part, module, name in _PACKAGES if part in optimizer)
        yield from (("optimizer_type", module, name) for module, name in list(wanted)[:1])
    if str(train.get("network_module", "")).startswith("lycoris."):
        yield "network_module", "lycoris", "lycoris-lora"
    if train.get("log_with") in ("wandb", "all"):
        yield "log_with", "wandb", "wandb"
    if (attention := attention_package(train)) is not None:
        yield attention


def _is_there(folder: Path, module: str, settings: Settings) -> bool:
    roots = [folder] if settings.sd_scripts is None else [folder, settings.sd_scripts]
    return any((root / module).is_dir() or (root / f"{module}.py").is_file() for root in roots)


def site_packages(settings: Settings) -> Path | None:
    """Where the packages of the trainer's Python lie, if that can be told by looking: torch must be there too."""
    roots: list[Path] = []
    if settings.sd_python is not None:
        roots.append(settings.sd_python.parent.parent)
    elif settings.sd_scripts is not None:
        for folder in (settings.sd_scripts, settings.sd_scripts.parent):
            roots += [folder / "venv", folder / ".venv"]
    for root in roots:
        found = sorted(root.glob("lib/python3*/site-packages"), key=lambda path: natural_key(path.parent.name))
        for folder in reversed(found):
            if (folder / "torch").is_dir():
                return folder
    return None


def check_output(config: Config, workspace: Workspace, plan: Plan) -> Iterator[Problem]:
    """Disk, files that would be overwritten, checkpoints that the run deletes itself."""
    train = config.effective()
    need, free = plan.disk_bytes, plan.disk_free
    output = train.get("output_dir")
    where = f"{TRAIN}: output_dir"
    if need is not None and need > free:
        message = f"the run writes about {human_bytes(need)}, and {human_bytes(free)} are free"
        yield error("KT401", where, message, "Free some space, or save less often.")
    elif need is not None and need > 0.8 * free:
        message = f"the run writes about {human_bytes(need)} of the {human_bytes(free)} that are free"
        yield warning("KT401", where, message, "Free some space, or save less often.")
    if isinstance(output, str) and output:
        folder = workspace.root / Path(output).expanduser()
        there = [item.name for item in plan.checkpoints if (folder / item.name).exists()]
        if there:
            message = f"{count_of(len(there), 'file')} in {output} would be overwritten: {printable(there[0])} …"
            hint = "Change output_name, or remove output_dir: then every run gets a folder of its own."
            yield warning("KT402", where, message, hint, fixable=True)
    gone = [item for item in plan.checkpoints if not item.kept]
    if gone:
        key = "save_last_n_epochs" if gone[0].epoch is not None else "save_last_n_steps"
        names = ", ".join(f"epoch {item.epoch}" if item.epoch is not None else f"step {item.step}" for item in gone[:3])
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        message = f"{names}{more} will be deleted again during the run"
        yield warning("KT320", f"{TRAIN}: {key}", message, "Remove it to keep all of them.", fixable=True)


def check_gpus(
    config: Config,
    settings: Settings,
    live_runs: Sequence[LiveRun],
    gpus: GpuReading | None,
    gpu: str | None = None,
    found: Environment | None = None,
) -> Iterator[Problem]:
    """Other runs, unless each has a GPU of its own, and what the GPUs can do; nothing of that without a reading."""
    train = config.effective()
    for run in live_runs:
        if run.config == config.name:
            yield warning("KT409", run.id, "a run of this config is under way", "Wait for it, or stop it first.")
        elif gpu is None or run.gpu in (None, gpu):
            hint = "Two trainings on one GPU rarely fit: wait for it, or choose another GPU."
            if settings.trainer == "demo":
                hint = "Both get slower: wait for it, or stop it first."
            yield warning("KT405", run.id, "another run is under way", hint)
    if gpus is None or settings.trainer == "demo":
        return
    precision = train.get("mixed_precision", "no")
    if not gpus.gpus:
        message = f"no NVIDIA GPU can be seen{f' ({gpus.message})' if gpus.message else ''}"
        hint = 'On a CPU only mixed_precision = "no" runs, and very slowly.'
        if precision == "no":
            hint = "The training will run on the CPU, very slowly."
        yield warning("KT406", f"{TRAIN}: mixed_precision", message, hint)
        return
    chosen = tuple(each for each in gpus.gpus if gpu is None or str(each.index) in re.split(r"\D+", gpu)) or gpus.gpus
    yield from check_bf16(train, chosen)
    if found is not None:
        yield from check_torch(train, found, chosen)
    old = [each.name for each in chosen if each.capability is None and each.name and _OLD_GPUS.search(each.name)]
    if precision == "bf16" and len(old) == len(chosen):
        message = f"{printable(old[0] or '')} has no bf16"
        yield warning("KT408", f"{TRAIN}: mixed_precision", message, 'Set mixed_precision = "fp16".', fixable=True)
