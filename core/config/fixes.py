"""Safe fixes: what the preflight's hint says, done to the config in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.config.base_models import list_models
from core.config.check_options import belongs_into, plain_text
from core.config.check_training import FITTING_MODULES
from core.config.documents import place_of
from core.config.resolved import model_of, resolve, script_of
from core.config.schema import (
    nearest,
    network_modules,
    optimizers,
    parse_value,
    schedulers,
    suggest,
    torch_optimizers,
)
from core.dataset.model import parse_folder_name
from core.problems import Problem

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

Fix = Callable[["Config", "Workspace", str], None]
"""Changes the config; the text is the key that the problem is about, or its place in dataset.toml."""


def fix(config: Config, workspace: Workspace, problem: Problem) -> bool:
    """Do what the hint of a fixable problem says; saving is the caller's. False when there is no safe fix for it.

    The next check tells whether it helped.
    """
    action = _FIXES.get(problem.code)
    if action is None or not problem.fixable:
        return False
    before = [config.text(file) for file in ("train", "dataset", "prompts")]
    action(config, workspace, place_of(problem.where)[1])
    return problem.code == "KT215" or [config.text(file) for file in ("train", "dataset", "prompts")] != before


def _set(key: str, value: object) -> Fix:
    return lambda config, workspace, where: config.set("train", key, value)


def _set_dataset(key: str, value: object) -> Fix:
    return lambda config, workspace, where: config.set("dataset", key, value)


def _remove(config: Config, workspace: Workspace, key: str) -> None:
    config.unset("train", key)


def _rename(config: Config, workspace: Workspace, key: str) -> None:
    right = suggest(key, script=script_of(config, workspace))
    value = config.get("train", key)
    if right is None or config.get("train", right) is not None:
        return
    text = value if isinstance(value, str) else None
    config.set("train", right, parse_value("train", right, text) if text is not None else value)
    config.unset("train", key)


def _whole_steps(config: Config, workspace: Workspace, key: str) -> None:
    config.set("train", key, int(config.get("train", key)))


def _alpha(config: Config, workspace: Workspace, key: str) -> None:
    config.set("train", "network_alpha", max(config.get("train", "network_dim") // 2, 1))


def _no_more_than_dim(config: Config, workspace: Workspace, key: str) -> None:
    config.set("train", "network_alpha", config.get("train", "network_dim") or 4)


def _buckets(config: Config, workspace: Workspace, place: str) -> None:
    dataset = next((each for each in resolve(config, workspace) if each.where == place), None)
    if dataset is None or dataset.resolution is None:
        return
    step = dataset.values["bucket_reso_steps"]
    smallest, largest = min(dataset.resolution), max(dataset.resolution)
    if dataset.values["min_bucket_reso"] > smallest:
        config.set("dataset", f"{_holder(config, place, 'min_bucket_reso')}.min_bucket_reso", smallest // step * step)
    if dataset.values["max_bucket_reso"] < largest:
        config.set(
            "dataset", f"{_holder(config, place, 'max_bucket_reso')}.max_bucket_reso", -(-largest // step) * step
        )


def _steps(config: Config, workspace: Workspace, place: str) -> None:
    config.set("dataset", f"{_holder(config, place, 'bucket_reso_steps')}.bucket_reso_steps", 64)


def _holder(config: Config, place: str, key: str) -> str:
    """The place that has the key now: the dataset itself, else [general]."""
    return place if config.get("dataset", f"{place}.{key}") is not None else "general"


def _tokens(config: Config, workspace: Workspace, where: str) -> None:
    limit = config.get("train", "max_token_length") or 75
    config.set("train", "max_token_length", 150 if limit < 150 else 225)


def _extension(config: Config, workspace: Workspace, where: str) -> None:
    for dataset in resolve(config, workspace):
        for subset in dataset.subsets:
            for place in (subset.where, dataset.where):
                if config.get("dataset", f"{place}.caption_extension") is not None:
                    config.unset("dataset", f"{place}.caption_extension")
    config.set("dataset", "general.caption_extension", ".txt")


def _keep_first(config: Config, workspace: Workspace, where: str) -> None:
    for dataset in resolve(config, workspace):
        for place in (*(subset.where for subset in dataset.subsets), dataset.where):
            if config.get("dataset", f"{place}.keep_tokens") == 0:
                config.unset("dataset", f"{place}.keep_tokens")
    config.set("dataset", "general.keep_tokens", 1)


def _prompt_file(config: Config, workspace: Workspace, key: str) -> None:
    text = str(config.get("train", "sample_prompts"))
    lines = config.prompts.rstrip("\n")
    if text not in lines:
        config.prompts = f"{lines}\n{text}\n".lstrip("\n")
    config.set("train", "sample_prompts", workspace.key_of(config.path("prompts")))


def _model(config: Config, workspace: Workspace, key: str) -> None:
    name = Path(str(config.get("train", key))).name
    there = next((model.path for model in list_models(workspace) if model.path.name == name), None)
    if there is not None:
        config.set("train", key, workspace.key_of(there))


def _v2(config: Config, workspace: Workspace, key: str) -> None:
    model = model_of(config, workspace)
    config.set("train", "v2", True if model is not None and model.architecture == "SD2" else None)


def _nearest(names: Callable[[], Sequence[str]]) -> Fix:
    def mend(config: Config, workspace: Workspace, key: str) -> None:
        near = nearest(str(config.get("train", key)), names())
        if near is not None:
            config.set("train", key, near)

    return mend


def _module(config: Config, workspace: Workspace, key: str) -> None:
    module = str(config.get("train", key))
    bare = f"networks.{module.removesuffix('.py').replace('/', '.').rpartition('.')[2]}"
    if module != bare and bare in network_modules():
        config.set("train", key, bare)
    elif module not in network_modules():
        _nearest(network_modules)(config, workspace, key)
    else:
        config.set("train", key, FITTING_MODULES[script_of(config, workspace)][0])


def _warmup(config: Config, workspace: Workspace, key: str) -> None:
    if config.get("train", "lr_scheduler") in (None, "constant") and not config.get("train", "lr_scheduler_type"):
        relative = str(config.get("train", "optimizer_type")).lower() == "adafactor"
        if not relative or "relative_step=False" in str(config.get("train", "optimizer_args")).replace(" ", ""):
            config.set("train", "lr_scheduler", "constant_with_warmup")
            return
    config.unset("train", "lr_warmup_steps")


def _conflict(config: Config, workspace: Workspace, key: str) -> None:
    if key == "apply_t5_attn_mask":
        config.set("train", key, True)
    else:
        config.unset("train", key)


def _into_list(config: Config, workspace: Workspace, key: str) -> None:
    holder = belongs_into(key, str(config.get("train", "network_module")))
    if holder is not None:
        items = list(config.get("train", holder) or [])
        config.set("train", holder, [*items, f"{key}={plain_text(config.get('train', key))}"])
        config.unset("train", key)


def _repeats(config: Config, workspace: Workspace, place: str) -> None:
    for dataset in resolve(config, workspace):
        for subset in dataset.subsets:
            parsed = parse_folder_name(subset.folder.name) if subset.folder is not None else None
            if f"{subset.where}.num_repeats" == place and parsed is not None:
                config.set("dataset", place, parsed[0])


def _sdpa(config: Config, workspace: Workspace, key: str) -> None:
    config.unset("train", "xformers")
    config.set("train", "sdpa", True)


def _without_mark(config: Config, workspace: Workspace, key: str) -> None:
    for file in ("train", "dataset"):
        config.set_text(file, config.text(file))


_FIXES: dict[str, Fix] = {
    "KT118": _tokens,
    "KT123": _extension,
    "KT131": _keep_first,
    "KT132": _repeats,
    "KT202": _rename,
    "KT203": _remove,
    "KT204": _prompt_file,
    "KT206": _model,
    "KT211": _buckets,
    "KT212": _steps,
    "KT213": _set("max_data_loader_n_workers", 2),
    "KT215": _without_mark,
    "KT217": _set("network_module", "networks.lora"),
    "KT224": _set("v_parameterization", True),
    "KT226": _whole_steps,
    "KT228": _set("max_train_epochs", 10),
    "KT231": _set("learning_rate", 1e-4),
    "KT232": _alpha,
    "KT234": _v2,
    "KT236": _set_dataset("general.enable_bucket", True),
    "KT244": _set("no_half_vae", True),
    "KT246": _no_more_than_dim,
    "KT247": _into_list,
    "KT249": _nearest(schedulers),
    "KT250": _warmup,
    "KT251": _nearest(lambda: (*optimizers(), *torch_optimizers())),
    "KT253": _conflict,
    "KT254": _module,
    "KT262": _remove,
    "KT301": _remove,
    "KT303": _remove,
    "KT309": _remove,
    "KT311": _remove,
    "KT317": _remove,
    "KT320": _remove,
    "KT402": _remove,
    "KT403": _sdpa,
    "KT408": _set("mixed_precision", "fp16"),
}
