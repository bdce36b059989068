"""Settings that the kohya_ss GUI saved as JSON, in sd-scripts' words: what its Train button would pass on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.config.foreign import TRAIN, Foreign, is_nothing, number
from core.config.moves import Moved
from core.config.schema import DEFAULT_SCRIPT, Field, fields, scripts
from core.config.values import coerce, from_text
from core.problems import UserError

PROGRAM = "kohya_ss"
_SIGNS = frozenset({"max_resolution", "optimizer", "epoch", "lr_warmup", "save_model_as", "train_data_dir"})
_FAMILIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("sdxl", "sdxl_train_network.py", ("sdxl_",)),
    ("flux1_checkbox", "flux_train_network.py", ("flux1_",)),
    ("sd3_checkbox", "sd3_train_network.py", ("sd3_",)),
    ("hunyuan_image_checkbox", "hunyuan_image_train_network.py", ("hunyuan_image_", "hunyuan_")),
    ("anima_checkbox", "anima_train_network.py", ("anima_",)),
    ("lumina_checkbox", "lumina_train_network.py", ("lumina_",)),
)
"""Checkbox → script, and what the fields of that family begin with."""
_BLOCKS = (
    *("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold"),
    *("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas", "rank_dropout", "module_dropout"),
)
_CONV = ("conv_dim", "conv_alpha")
_FLUX = (
    *("img_attn_dim", "img_mlp_dim", "img_mod_dim", "single_dim", "txt_attn_dim", "txt_mlp_dim", "txt_mod_dim"),
    *("single_mod_dim", "in_dims", "train_double_block_indices", "train_single_block_indices", "split_qkv"),
    *("train_t5xxl", "ggpo_beta", "ggpo_sigma", "rank_dropout", "module_dropout"),
)
_WEIGHTS = (*_CONV, "use_tucker", "rank_dropout", "module_dropout", "rank_dropout_scale", "train_norm")
_SHAPES = (*_WEIGHTS, "use_cp", "bypass_mode", "dora_wd", "use_scalar")
_DROPOUTS = ("rank_dropout", "module_dropout")
_NATIVE = (*_CONV, "use_tucker", "factor", *_DROPOUTS)
_TYPES: Mapping[str, tuple[str, str | None, tuple[str, ...]]] = {
    "Standard": ("networks.lora", None, _BLOCKS),
    "Kohya LoCon": ("networks.lora", None, (*_CONV, *_BLOCKS)),
    "Kohya DyLoRA": ("networks.dylora", None, (*_CONV, "unit", *_BLOCKS)),
    "LoRA-FA": ("networks.lora_fa", None, _BLOCKS),
    "Flux1": ("networks.lora_flux", None, _FLUX),
    "Flux1 OFT": ("networks.oft_flux", None, ("enable_all_linear",)),
    "HunyuanImage-2.1": ("networks.lora_hunyuan_image", None, _DROPOUTS),
    "Anima": ("networks.lora_anima", None, _DROPOUTS),
    "Lumina": ("networks.lora_lumina", None, _DROPOUTS),
    "Kohya LoHa": ("networks.loha", None, _NATIVE),
    "Kohya LoKr": ("networks.lokr", None, _NATIVE),
    "LoCon": ("lycoris.kohya", "locon", _SHAPES),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon", _SHAPES),
    "LyCORIS/LoHa": ("lycoris.kohya", "loha", _SHAPES),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr", (*_SHAPES, "factor", "decompose_both")),
    "LyCORIS/BOFT": ("lycoris.kohya", "boft", _WEIGHTS),
    "LyCORIS/Diag-OFT": ("lycoris.kohya", "diag-oft", (*_WEIGHTS, "constraint", "rescaled")),
    "LyCORIS/DyLoRA": ("lycoris.kohya", "dylora", (*_WEIGHTS, "block_size")),
    "LyCORIS/GLoRA": ("lycoris.kohya", "glora", _WEIGHTS),
    "LyCORIS/iA3": ("lycoris.kohya", "ia3", (*_CONV, "train_on_input")),
    "LyCORIS/Native Fine-Tuning": (
        "lycoris.kohya",
        "full",
        ("rank_dropout", "module_dropout", "rank_dropout_scale", "train_norm"),
    ),
}
"""LoRA type → module, LyCORIS' algo, and which fields go into network_args."""
_ARGUMENT = {"unit": "block_size", "constrain": "constraint"}
"""Fields that LyCORIS knows under another name."""
_NETWORK_FIELDS = frozenset(
    {
        *_BLOCKS,
        *_FLUX,
        *_SHAPES,
        *_NATIVE,
        "unit",
        "constrain",
        "decompose_both",
        "rescaled",
        "train_on_input",
        "enable_all_linear",
        "LyCORIS_preset",
        "train_blocks",
    }
    | {"conv_alphas", "conv_dims", "train_lora_ggpo", "loraplus_lr_ratio", "loraplus_unet_lr_ratio"}
    | {"loraplus_text_encoder_lr_ratio", "no_token_padding", "split_mode"}
)
_LAUNCHER = (
    *("num_cpu_threads_per_process", "num_processes", "num_machines", "multi_gpu", "gpu_ids", "main_process_port"),
    *("dynamo_backend", "dynamo_mode", "dynamo_use_fullgraph", "dynamo_use_dynamic", "extra_accelerate_launch_args"),
)
_OF_THE_GUI = {
    "model_list": "is the GUI's own list of models",
    "save_as_bool": "is the GUI's own",
    "file_path": "is the GUI's own",
    "headless": "is the GUI's own",
    "print_only": "is the GUI's own",
    "lowvram": "the GUI does not pass it on: sd-scripts has no such option any more",
    "stop_text_encoder_training": "the GUI does not pass it on: sd-scripts cannot stop the text encoder of a LoRA",
    "stop_text_encoder_training_pct": "the GUI does not pass it on: sd-scripts cannot stop the text encoder of a LoRA",
    "show_timesteps": "only draws a picture of timesteps and trains nothing",
    "show_timesteps_resolution": "only draws a picture of timesteps and trains nothing",
    "logging_dir": "left out: every run keeps its logs in its own folder",
}
_EMPTY = "empty, 0 or false: the GUI does not pass it on either, and the trainer's default holds"
_USUAL = "the trainer does the same without it"
_NO_FAMILY = "belongs to another kind of model than the one that is trained"
_NO_NETWORK = "this kind of network does not read it"
_KEPT = frozenset({"max_data_loader_n_workers"})
"""Written although 0: the trainer's default is another."""


def is_kohya_gui(data: Mapping[str, Any]) -> bool:
    """Whether this JSON was saved by the GUI's LoRA tab. Raises UserError for that of its other tabs."""
    if "LoRA_type" in data:
        return True
    if len(_SIGNS & data.keys()) >= 4:
        raise UserError(
            "These settings of kohya_ss train a whole model: there is no LoRA_type",
            "Import settings that its LoRA tab saved; this program trains LoRAs.",
        )
    return False


def read_kohya_gui(data: Mapping[str, Any]) -> tuple[Foreign, str]:
    """The settings, and the command line of the field “additional parameters”, which wins over them."""
    checked = next((row for row in _FAMILIES if data.get(row[0]) is True), None)
    found = Foreign(PROGRAM, checked[1] if checked is not None else DEFAULT_SCRIPT, dict(data))
    if checked is not None:
        found.rest.pop(checked[0])
        found.moved.append(Moved(checked[0], PROGRAM, f"{TRAIN}: script", f"chooses the script {checked[1]}"))
    extra = str(found.rest.get("additional_parameters") or "")
    if extra.strip():
        found.rest.pop("additional_parameters")
        why = "options of the command line: they win over the fields of that name"
        found.moved.append(Moved("additional_parameters", PROGRAM, TRAIN, why))
    elif "additional_parameters" in found.rest:
        found.drop("additional_parameters", _EMPTY)
    known = fields(found.script)
    _families(found, checked[2] if checked is not None else (), known)
    _network(found)
    _length(found)
    _rates(found)
    _renamed(found)
    _launcher(found)
    _prompts(found)
    for key, why in _OF_THE_GUI.items():
        if key in found.rest:
            found.drop(key, why)
    for key in list(found.rest):
        _plain(found, key, known)
    return found.finish(), extra


def _families(found: Foreign, own: tuple[str, ...], known: Mapping[str, Field]) -> None:
    """Fields such as sdxl_no_half_vae: of the model that is trained under their plain name, of others not at all."""
    for _checkbox, _script, prefixes in _FAMILIES:
        for key in list(found.rest):
            prefix = next((each for each in prefixes if key.startswith(each)), None)
            if prefix is None or key in known:
                continue
            value, plain = found.rest[key], key.removeprefix(prefix)
            if prefixes != own:
                found.drop(key, _NO_FAMILY)
            elif is_nothing(value) or plain in {"checkbox"}:
                found.drop(key, _EMPTY)
            elif plain in known:
                found.rename(key, plain, _coerced(value, known[plain]), "the same option under sd-scripts' own name")
    for checkbox in (row[0] for row in _FAMILIES):
        if checkbox in found.rest:
            found.drop(checkbox, _EMPTY)


def _network(found: Foreign) -> None:
    kind = str(found.rest.pop("LoRA_type", ""))
    if kind not in _TYPES:
        message = f"the LoRA type {kind!r} is not known here"
        found.warn("KT254", f"{PROGRAM}: LoRA_type", message, "Write network_module and network_args into train.toml.")
        return
    module, algorithm, keys = _TYPES[kind]
    if kind == "Standard" and found.script == "sd3_train_network.py":
        module = "networks.lora_sd3"
    arguments: dict[str, Any] = {}
    used: list[str] = []
    if module.startswith("lycoris"):
        arguments["algo"] = algorithm
        preset = found.rest.get("LyCORIS_preset")
        if preset and preset != "full":
            arguments["preset"] = preset
            used.append("LyCORIS_preset")
    takes_ggpo = bool(found.rest.get("train_lora_ggpo"))
    for field_name in ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio", *keys):
        name = next((old for old, new in _ARGUMENT.items() if new == field_name and old in found.rest), field_name)
        value = found.rest.get(name)
        if is_nothing(value) or (field_name.startswith("ggpo") and not takes_ggpo):
            continue
        if field_name == "factor" and number(value) == -1:
            continue
        arguments[field_name] = value
        used.append(name)
    if found.rest.get("split_mode") and module == "networks.lora_flux":
        arguments["train_blocks"] = "single"
        used.append("split_mode")
    elif found.rest.get("train_blocks") in ("single", "double") and module == "networks.lora_flux":
        arguments["train_blocks"] = found.rest["train_blocks"]
        used.append("train_blocks")
    found.put("network_module", module, f"{PROGRAM} LoRA_type")
    found.moved.append(Moved("LoRA_type", PROGRAM, f"{TRAIN}: network_module", f"“{kind}” is the module {module}"))
    if arguments:
        found.put("network_args", [f"{key}={value}" for key, value in arguments.items()], f"{PROGRAM} LoRA_type")
        why = 'sd-scripts takes the fields of a network as a list of "key=value"'
        found.moved.append(Moved(", ".join(used) or "LoRA_type", PROGRAM, f"{TRAIN}: network_args", why))
    for key in sorted(_NETWORK_FIELDS & found.rest.keys()):
        value = found.rest[key]
        if key in used:
            found.rest.pop(key)
        else:
            found.drop(key, _EMPTY if is_nothing(value) else _NO_NETWORK)


def _length(found: Foreign) -> None:
    """Epochs and steps: of the GUI's three fields the first that is filled in counts."""
    epoch, epochs, steps = (number(found.rest.get(key)) for key in ("epoch", "max_train_epochs", "max_train_steps"))
    if epochs > 0:
        found.put("max_train_epochs", int(epochs), f"{PROGRAM} max_train_epochs")
        found.drop("epoch", "max_train_epochs is set, and wins")
        found.drop("max_train_steps", "max_train_epochs is set, and wins")
    elif steps > 0:
        found.put("max_train_steps", int(steps), f"{PROGRAM} max_train_steps")
        found.drop("epoch", "max_train_steps is set, and wins")
    elif epoch > 0:
        why = "the GUI multiplies it into max_train_steps and forgets the buckets; the epochs themselves are exact"
        found.rename("epoch", "max_train_epochs", int(epoch), why)
    for key in ("max_train_epochs", "max_train_steps"):
        if key in found.rest:
            if is_nothing(found.rest[key]):
                found.drop(key, _EMPTY)
            found.rest.pop(key, None)
    warm, percent = number(found.rest.get("lr_warmup_steps")), number(found.rest.get("lr_warmup"))
    if warm > 0:
        found.put("lr_warmup_steps", int(warm), f"{PROGRAM} lr_warmup_steps")
        if percent:
            found.drop("lr_warmup", "lr_warmup_steps is set, and wins")
    elif percent > 0:
        share = round(percent / 100, 6)
        found.rename(
            "lr_warmup", "lr_warmup_steps", share, f"{percent:g} per cent of all steps, which is the share {share:g}"
        )
    for key in ("lr_warmup", "lr_warmup_steps"):
        if key in found.rest and is_nothing(found.rest[key]):
            found.drop(key, _EMPTY)
        found.rest.pop(key, None)
    if found.rest.get("lr_scheduler") == "cosine_with_restarts" and found.rest.get("lr_scheduler_num_cycles") in (
        "",
        None,
    ):
        why = "is empty, and the GUI then takes the number of epochs"
        found.rename("lr_scheduler_num_cycles", "lr_scheduler_num_cycles", int(epoch) or 1, why)


def _rates(found: Foreign) -> None:
    """A rate of 0 switches that half of the model off (the GUI's network_train_…_only)."""
    rates = {key: number(found.rest.get(key)) for key in ("learning_rate", "unet_lr", "text_encoder_lr", "t5xxl_lr")}
    text, unet = rates["text_encoder_lr"], rates["unet_lr"]
    if rates["learning_rate"]:
        found.put("learning_rate", rates["learning_rate"], f"{PROGRAM} learning_rate")
    if unet:
        found.put("unet_lr", unet, f"{PROGRAM} unet_lr")
    if text and rates["t5xxl_lr"]:
        found.rename("t5xxl_lr", "text_encoder_lr", [text, rates["t5xxl_lr"]], "stands behind the rate of CLIP")
    elif text:
        found.put("text_encoder_lr", [text], f"{PROGRAM} text_encoder_lr")
    only = None
    if found.script == "hunyuan_image_train_network.py" or (not text and unet):
        only = "network_train_unet_only"
    elif text and not unet:
        only = "network_train_text_encoder_only"
    if only is not None:
        off = "text_encoder_lr" if only == "network_train_unet_only" else "unet_lr"
        found.put(only, True, f"{PROGRAM} {off}")
        found.moved.append(
            Moved(off, PROGRAM, f"{TRAIN}: {only}", "a rate of 0 means to the GUI: do not train that half")
        )
        found.rest.pop(off, None)
    for key in rates:
        if key in found.rest and not rates[key]:
            found.drop(key, _EMPTY)
        found.rest.pop(key, None)


def _renamed(found: Foreign) -> None:
    rest = found.rest
    for old, new in (
        ("optimizer", "optimizer_type"),
        ("max_resolution", "resolution"),
        ("lora_network_weights", "network_weights"),
    ):
        if old in rest:
            if is_nothing(rest[old]):
                found.drop(old, _EMPTY)
            else:
                found.rename(old, new, rest[old], "the same option under sd-scripts' own name")
    attention = rest.get("xformers")
    if attention is True or attention in ("xformers", "sdpa"):
        key = "sdpa" if attention == "sdpa" else "xformers"
        found.put(key, True, f"{PROGRAM} xformers")
        if key == "sdpa":
            found.moved.append(Moved("xformers", PROGRAM, f"{TRAIN}: sdpa", "the GUI's field chose sdpa"))
        rest.pop("xformers")
    elif attention == "none":
        found.drop("xformers", _EMPTY)
    kind = rest.pop("noise_offset_type", None)
    others = {
        "Original": ("multires_noise_iterations", "multires_noise_discount"),
        "Multires": ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"),
    }
    for key in others.get(str(kind), ()):
        if key in rest:
            found.drop(
                key,
                f"noise_offset_type is {kind}: the GUI does not pass it on" if not is_nothing(rest[key]) else _EMPTY,
            )
    if kind is not None:
        found.moved.append(Moved("noise_offset_type", PROGRAM, "", "chooses between two groups of fields in the GUI"))
    if not rest.get("multires_noise_iterations") and "multires_noise_discount" in rest:
        found.drop("multires_noise_discount", "does nothing without multires_noise_iterations")
    for key in ("optimizer_args", "lr_scheduler_args"):
        value = rest.pop(key, None)
        items = [str(item) for item in value] if isinstance(value, list) else str(value or "").replace('"', "").split()
        if items:
            found.put(key, items, f"{PROGRAM} {key}")
            if isinstance(value, str):
                why = 'a line of text in the GUI, a list of "key=value" in the file'
                found.moved.append(Moved(key, PROGRAM, f"{TRAIN}: {key}", why))
        elif value is not None:
            found.drop(key, _EMPTY)
    if rest.get("use_wandb"):
        found.rename("use_wandb", "log_with", "wandb", "an older name")
    elif "use_wandb" in rest:
        found.drop("use_wandb", _EMPTY)
    if str(rest.get("max_token_length", "")) == "75":
        found.drop("max_token_length", _USUAL)
    if is_nothing(rest.get("seed", 1)):
        found.drop("seed", "0 or empty: the GUI means a random seed by it, and so does the trainer without the key")
    if rest.get("model_type") in (None, "", "flux") and "model_type" in rest:
        found.drop("model_type", _USUAL)
    output = rest.get("output_name")
    if isinstance(output, str) and output:
        found.put("output_name", rest.pop("output_name"), f"{PROGRAM} output_name")
    for key in _KEPT & rest.keys():
        found.put(key, int(number(rest.pop(key))), f"{PROGRAM} {key}")


def _launcher(found: Foreign) -> None:
    usual = {"num_processes": 1, "num_machines": 1, "dynamo_backend": "no", "dynamo_mode": "default"}
    for key in _LAUNCHER:
        if key not in found.rest:
            continue
        value = found.rest.pop(key)
        if is_nothing(value) or usual.get(key) == value or (key == "num_cpu_threads_per_process"):
            found.drop(key, "belongs to accelerate, which is not needed on one GPU")
        else:
            found.launcher[key] = str(value)


def _prompts(found: Foreign) -> None:
    text = found.rest.pop("sample_prompts", None)
    if isinstance(text, str) and text.strip():
        found.prompts = text
        why = "the GUI writes this text into a file before it trains; here it is a file of the config"
        found.moved.append(Moved("sample_prompts", PROGRAM, "prompts.txt", why))
    elif text is not None:
        found.drop("sample_prompts", _EMPTY)


def _plain(found: Foreign, key: str, known: Mapping[str, Field]) -> None:
    """A field that has the name of an option: taken over when it says something."""
    value = found.rest[key]
    option = known.get(key)
    if option is None:
        elsewhere = any(key in fields(script) for script in scripts()) or re.match(
            r"(?:double|single)_blocks_to_swap", key
        )
        if elsewhere:
            found.drop(key, _EMPTY if is_nothing(value) else _NO_FAMILY)
        elif is_nothing(value):
            found.drop(key, _EMPTY)
        return
    if is_nothing(value):
        found.drop(key, _EMPTY)
        return
    right = _coerced(value, option)
    if right == option.default and not option.essential:
        found.drop(key, _USUAL)
        return
    found.rest.pop(key)
    found.put(key, right, f"{PROGRAM} {key}")


def _coerced(value: Any, option: Field) -> Any:
    """In the kind that the file needs; a value that is wrong stays, and is told later."""
    try:
        if option.type == "bool" and value in (0, 1):
            return bool(value)
        return from_text(value, option) if isinstance(value, str) else coerce(value, option)
    except UserError:
        return value
