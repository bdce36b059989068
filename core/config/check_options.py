"""Checks of train.toml: names, kinds, and options that do not go together. No file but the config is looked at."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.config.documents import FILES
from core.config.reading import mixed_arrays
from core.config.resolved import network_scale
from core.config.schema import Field, fields, is_foreign, network_args, only_dataset, suggest
from core.config.values import complaint, shown
from core.problems import Problem, Severity
from core.text import printable

if TYPE_CHECKING:
    from core.config.documents import Config
    from core.workspace import Workspace

TRAIN = "train.toml"
DATASET = "dataset.toml"
_KEY_VALUE = frozenset({"network_args", "optimizer_args", "lr_scheduler_args"})
_NO_RATE = ("prodigy", "dadapt")
UNET_ONLY_WHEN_CACHED = frozenset({"sdxl_train_network.py", "anima_train_network.py"})
"""Scripts that refuse to train the text encoder beside its cached outputs; FLUX.1 and SD3 may train CLIP."""
_OPTIMIZER_ARGS = frozenset(
    {"weight_decay", "betas", "eps", "momentum", "d_coef", "d0", "decouple", "use_bias_correction", "safeguard_warmup"}
    | {"growth_rate", "relative_step", "scale_parameter", "warmup_init", "clip_threshold", "decay_rate", "beta3"}
)
"""Names that are an optimizer's and never an option of the trainer."""


def error(code: str, where: str, message: str, hint: str | None = None, *, fixable: bool = False) -> Problem:
    """What the trainer dies of, or what makes it end without training."""
    return Problem(Severity.ERROR, code, where, message, hint, fixable)


def warning(code: str, where: str, message: str, hint: str | None = None, *, fixable: bool = False) -> Problem:
    """What trains something else than was meant, or may fail."""
    return Problem(Severity.WARNING, code, where, message, hint, fixable)


def info(code: str, where: str, message: str, hint: str | None = None, *, fixable: bool = False) -> Problem:
    """What is good to know."""
    return Problem(Severity.INFO, code, where, message, hint, fixable)


def first_names(names: Sequence[str], limit: int = 3) -> str:
    """The first few of them as they may be shown, and how many more there are."""
    few = ", ".join(printable(name) for name in names[:limit])
    return few if len(names) <= limit else f"{few} and {len(names) - limit:,} more"


def mixed_lists(data: Mapping[str, Any], file: str) -> Iterator[Problem]:
    """Lists of numbers with and without a point, or of numbers and text: toml.loads of the trainer refuses them."""
    for place in mixed_arrays(data):
        hint = "Write all its items in one kind: [1.0, 2.5] instead of [1, 2.5]."
        message = "this list mixes kinds of values; the trainer cannot read the file"
        yield error("KT214", f"{file}: {place}", message, hint)


def check_files(config: Config) -> Iterator[Problem]:
    """What keeps the files from being read at all."""
    for file, name in FILES.items():
        broken = config.broken.get(file)
        if broken is not None:
            yield error("KT201", name, broken.message.removeprefix(f"{config.path(file)}, "), broken.hint)
        if file != "prompts" and config.has_bom(file):
            message = "begins with a byte order mark, with which the trainer cannot read its first line"
            yield error("KT215", name, message, "Save it again from here: the mark is left out.", fixable=True)
    if not config.text("train").strip() and "train" not in config.broken:
        yield error("KT201", TRAIN, "is missing or empty", "Make one: kohya-tui config new NAME")


def named(problem: Problem, config: Config, workspace: Workspace) -> Problem:
    """`problem` with the config's own folder before the name of its file: configs/rinni/train.toml."""
    if not problem.where.startswith(tuple(FILES.values())):
        return problem
    return replace(problem, where=f"{workspace.key_of(config.folder)}/{problem.where}")


def check_options(config: Config, script: str) -> Iterator[Problem]:
    """Everything that train.toml alone tells, for a training with `script`."""
    train = config.effective()
    yield from _structure(config)
    known = fields(script)
    for key, value in train.items():
        if key == "datasets" and isinstance(value, list):
            continue
        field = known.get(key)
        if field is None:
            yield _unknown(key, train, script)
        else:
            yield from _value(field, value)
    yield from _required(train, is_lora="network_module" in known)
    yield from _together(train, script)
    yield from _schedule(train)
    yield from _without_effect(train, script)


def _structure(config: Config) -> Iterator[Problem]:
    data = config.plain("train")
    yield from mixed_lists(data, TRAIN)
    seen: dict[str, tuple[str, Any]] = {}
    for section, values in data.items():
        if isinstance(values, list) and section == "datasets":
            yield warning(
                "KT225",
                f"{TRAIN}: [[datasets]]",
                "the trainer ignores datasets in this file",
                "Move the block to dataset.toml; kohya-tui config import does that for a whole guide.",
            )
        for key, value in values.items() if isinstance(values, dict) else [(section, values)]:
            place = f"[{section}]" if isinstance(values, dict) else "the top"
            if key in seen and seen[key][1] != value:
                message = f"stands twice: {shown(value)} of {place} wins over {shown(seen[key][1])} of {seen[key][0]}"
                yield warning("KT230", f"{TRAIN}: {key}", message, "Section names mean nothing; keep one of them.")
            seen[key] = (place, value)


def _unknown(key: str, train: Mapping[str, Any], script: str) -> Problem:
    where = f"{TRAIN}: {key}"
    if key in only_dataset():
        return warning("KT225", where, "is read from dataset.toml only; here it does nothing", "Move it there.")
    holder = belongs_into(key, str(train.get("network_module")))
    if holder is not None and not isinstance(train[key], dict):
        message = f"does nothing here: it is an argument of {holder}"
        hint = f'Write {holder} = ["{key}={plain_text(train[key])}"].'
        is_list = isinstance(train.get(holder, []), list)
        return warning("KT247", where, message, hint, fixable=is_list)
    near = suggest(key, script=script)
    hint = f"Did you mean {near}?" if near else "Remove it, or look for its name in your version of sd-scripts."
    message = f"{script} does not know this key and ignores it without a word"
    return warning("KT202", where, message, hint, fixable=near is not None and near not in train)


def belongs_into(key: str, module: str) -> str | None:
    """The list of "key=value" that an unknown key of train.toml is meant for, else None."""
    if key in (network_args(module) or {}):
        return "network_args"
    return "optimizer_args" if key in _OPTIMIZER_ARGS else None


def plain_text(value: Any) -> str:
    """A value as it stands behind the `=` of "key=value", where Python reads it."""
    return value if isinstance(value, str) else f"{value}"


def _value(field: Field, value: Any) -> Iterator[Problem]:
    where = f"{TRAIN}: {field.name}"
    if field.name in _KEY_VALUE:
        yield from _key_values(field.name, value, where)
        return
    if field.type == "bool" and value in (0, 1) and not isinstance(value, bool | float):
        yield warning("KT203", where, f"must be true or false, not {value}", f"Write {'true' if value else 'false'}.")
        return
    if field.name == "max_token_length" and isinstance(value, int) and value > 225 and value % 75 == 0:
        message = f"{value} is no usual length: the trainer takes it from a file, and not on its command line"
        yield warning("KT203", where, message, "225 is the most that is usual.")
        return
    if field.name == "max_token_length" and value == 75:
        yield info("KT203", where, "75 is what the trainer takes without this key", "Remove it.", fixable=True)
        return
    if field.name == "resolution" and not isinstance(value, str):
        hint = 'Write it as text here ("512" or "512,768"), or as a number in dataset.toml.'
        yield error("KT203", where, f"must be text in this file, not {shown(value)}", hint)
        return
    wrong = complaint(value, field)
    if wrong is not None:
        yield error("KT203", where, wrong, field.help or None)
    elif field.name in {"lr_warmup_steps", "lr_decay_steps"} and isinstance(value, float) and value >= 1:
        message = f"with a point it is a share: {value} times all steps"
        yield warning("KT226", where, message, f"Write {int(value)} for steps, or 0.05 for a twentieth.", fixable=True)


def _key_values(name: str, value: Any, where: str) -> Iterator[Problem]:
    if not isinstance(value, list):
        what = "a table" if isinstance(value, dict) else shown(value)
        hint = f'Write {name} = ["key=value", "key=value"].'
        yield error("KT216", where, f'must be a list of "key=value" texts, not {what}', hint)
        return
    for item in value:
        if not isinstance(item, str) or "=" not in item:
            yield error("KT216", where, f"{shown(item)} is not of the form key=value", 'For example "conv_dim=4".')
            continue
        if name == "network_args":
            continue
        key, _, text = item.partition("=")
        if "=" in text:
            yield error("KT216", where, f"{shown(item)} has two equal signs", "Only one may stand in it.")
            continue
        try:
            ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            hint = f"The value is read as Python: a number, True, or quoted text: {key}='{text}'."
            yield error("KT216", where, f"the value of {shown(item)} cannot be read", hint)


def _required(train: Mapping[str, Any], *, is_lora: bool) -> Iterator[Problem]:
    if is_lora and not train.get("network_module"):
        hint = 'Add network_module = "networks.lora".'
        yield error("KT217", f"{TRAIN}: network_module", "is missing: there is nothing to train", hint, fixable=True)
    if train.get("network_alpha") is None and isinstance(train.get("network_dim"), int) and train["network_dim"] > 4:
        message = f"is not set: 1 divided by dim {train['network_dim']} makes learning very slow"
        hint = f"Set it to half of dim: network_alpha = {train['network_dim'] // 2}."
        yield warning("KT232", f"{TRAIN}: network_alpha", message, hint, fixable=True)
    scale = network_scale(train)
    if scale is not None and scale > 1:
        dim, alpha = train.get("network_dim", 4), train.get("network_alpha", 1)
        message = f"{alpha:g} with dim {dim:g} multiplies what is learnt by {scale:.3g}"
        half = f"; {dim // 2:g} is usual" if dim >= 2 else ""
        hint = f"Set network_alpha = {dim:g} for a scale of 1{half}."
        yield warning("KT246", f"{TRAIN}: network_alpha", message, hint, fixable=True)
    if train.get("max_train_epochs") is None and train.get("max_train_steps") is None:
        hint = "Set max_train_epochs = 10."
        message = "is not set: the training ends after 1600 steps, whatever the dataset"
        yield warning("KT228", f"{TRAIN}: max_train_epochs", message, hint, fixable=True)


def _together(train: Mapping[str, Any], script: str) -> Iterator[Problem]:
    on = {key for key, value in train.items() if value is True}
    if "debug_dataset" in on:
        message = "shows the pictures one by one and ends without training"
        yield error("KT262", f"{TRAIN}: debug_dataset", message, "Remove it.", fixable=True)
    if "persistent_data_loader_workers" in on and train.get("max_data_loader_n_workers") == 0:
        yield error(
            "KT213",
            f"{TRAIN}: persistent_data_loader_workers",
            "needs at least one worker, and max_data_loader_n_workers is 0",
            "Set max_data_loader_n_workers = 2, or persistent_data_loader_workers = false.",
            fixable=True,
        )
    if train.get("adaptive_noise_scale") is not None and train.get("noise_offset") is None:
        yield error("KT220", f"{TRAIN}: adaptive_noise_scale", "needs noise_offset", "Set noise_offset, such as 0.05.")
    v_pred = "v_parameterization" in on
    if "scale_v_pred_loss_like_noise_pred" in on and not v_pred:
        hint = "Set v_parameterization = true for a v-prediction model, else remove this."
        yield error("KT220", f"{TRAIN}: scale_v_pred_loss_like_noise_pred", "needs v_parameterization", hint)
    if train.get("v_pred_like_loss") and v_pred:
        yield error("KT220", f"{TRAIN}: v_pred_like_loss", "cannot go with v_parameterization", "Remove one of them.")
    if "zero_terminal_snr" in on and not v_pred:
        hint = "Set v_parameterization = true for a v-prediction model, else remove this."
        yield warning("KT307", f"{TRAIN}: zero_terminal_snr", "is meant for v-prediction models only", hint)
    precision = train.get("mixed_precision", "no")
    for key in ("full_fp16", "full_bf16"):
        if key in on and precision != key.removeprefix("full_"):
            hint = f'Set mixed_precision = "{key.removeprefix("full_")}".'
            yield error("KT241", f"{TRAIN}: {key}", f"needs mixed_precision {key.removeprefix('full_')}", hint)
    if on & {"fp8_base", "fp8_base_unet"} and precision == "no":
        yield error("KT241", f"{TRAIN}: fp8_base", "needs mixed precision", 'Set mixed_precision = "bf16" or "fp16".')
    if script == "sdxl_train_network.py" and precision == "fp16" and "no_half_vae" not in on and not train.get("vae"):
        message = "the SDXL VAE makes black pictures and NaN in fp16"
        yield warning("KT244", f"{TRAIN}: no_half_vae", message, "Set no_half_vae = true.", fixable=True)
    if on >= {"network_train_unet_only", "network_train_text_encoder_only"}:
        yield error(
            "KT242", f"{TRAIN}: network_train_unet_only", "both halves are switched off", "Remove one of the two."
        )
    cached = on & {"cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"}
    if cached and script in UNET_ONLY_WHEN_CACHED and "network_train_unet_only" not in on:
        hint = "Set network_train_unet_only = true, or do not cache the text encoder's outputs."
        yield error("KT219", f"{TRAIN}: {min(cached)}", "the text encoder cannot be trained then", hint)


def _schedule(train: Mapping[str, Any]) -> Iterator[Problem]:
    optimizer = str(train.get("optimizer_type", "")).lower()
    rates = [train.get(key) for key in ("learning_rate", "unet_lr")]
    rate = next((value for value in reversed(rates) if isinstance(value, int | float)), None)
    if optimizer.startswith(_NO_RATE) and (rate is None or rate <= 0.1):
        message = f"{train['optimizer_type']} finds the rate itself and multiplies it by this"
        yield warning("KT231", f"{TRAIN}: learning_rate", message, "Set learning_rate = 1.0, and no unet_lr.")
    if "learning_rate" not in train and "unet_lr" not in train:
        hint = "Set learning_rate = 1e-4."
        yield warning("KT231", f"{TRAIN}: learning_rate", "is not set: 2e-6 hardly trains anything", hint, fixable=True)
    scheduler = str(train.get("lr_scheduler", ""))
    if scheduler.startswith("adafactor") and optimizer != "adafactor":
        yield error(
            "KT243", f"{TRAIN}: lr_scheduler", "adafactor goes with the optimizer Adafactor only", "Use cosine."
        )
    if scheduler == "constant_with_warmup" and not train.get("lr_warmup_steps"):
        yield info(
            "KT308", f"{TRAIN}: lr_scheduler", "has no warm-up without lr_warmup_steps", "Set lr_warmup_steps = 0.05."
        )


def _without_effect(train: Mapping[str, Any], script: str) -> Iterator[Problem]:
    if train.get("sample_every_n_epochs") is not None and train.get("sample_every_n_steps") is not None:
        where = f"{TRAIN}: sample_every_n_steps"
        yield info("KT301", where, "is ignored, because sample_every_n_epochs is set", "Keep one.", fixable=True)
    if train.get("max_train_epochs") is not None and train.get("max_train_steps") is not None:
        where = f"{TRAIN}: max_train_steps"
        yield info("KT309", where, "is ignored, because max_train_epochs is set", "Keep one.", fixable=True)
    if train.get("dataset_config"):
        for key in {"train_data_dir", "reg_data_dir", "in_json"} & train.keys():
            hint = "Its folders belong into dataset.toml, as subsets."
            yield warning("KT302", f"{TRAIN}: {key}", "is ignored, because there is a dataset file", hint)
    if train.get("clip_skip") is not None:
        if script == "sdxl_train_network.py":
            yield info("KT311", f"{TRAIN}: clip_skip", "has no effect with SDXL", "Remove it.", fixable=True)
        elif train.get("v2"):
            yield warning("KT311", f"{TRAIN}: clip_skip", "is not meant for SD2", "Remove it.", fixable=True)
    if train.get("lr_scheduler_num_cycles") is not None and train.get("lr_scheduler") in (
        "constant",
        "linear",
        "cosine",
    ):
        where = f"{TRAIN}: lr_scheduler_num_cycles"
        yield info("KT312", where, f"does nothing with {train['lr_scheduler']}", "It belongs to cosine_with_restarts.")
    known = network_args(str(train.get("network_module")))
    given = train.get("network_args")
    for item in given if known is not None and isinstance(given, list) else []:
        key = str(item).partition("=")[0].strip()
        if known is not None and key not in known and "=" in str(item):
            near = suggest(key, frozenset(known))
            if near is None and is_foreign(str(train["network_module"])):
                continue  # another package: it may know more than its documentation lists
            hint = f"Did you mean {near}?" if near else f"It knows: {', '.join(known)}."
            where = f"{TRAIN}: network_args"
            yield warning("KT305", where, f"{train['network_module']} does not know {key} and ignores it", hint)
