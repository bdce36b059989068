"""The catalogue of one checkout of sd-scripts, from its source: options, dataset keys, network arguments, optimizers.

The result has the shape of the files in `catalogue/`, so that it can stand in their place.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.config.checkout_options import Option, Sources, read_tree, script_options
from core.config.schema import DEFAULT_SCRIPT, VERSION
from core.problems import UserError

MAIN = DEFAULT_SCRIPT
SCRIPTS = (
    *(MAIN, "sdxl_train_network.py", "flux_train_network.py", "sd3_train_network.py", "lumina_train_network.py"),
    *("hunyuan_image_train_network.py", "anima_train_network.py"),
    *("train_db.py", "fine_tune.py", "sdxl_train.py", "flux_train.py", "sd3_train.py", "lumina_train.py"),
    *("anima_train.py", "train_textual_inversion.py", "sdxl_train_textual_inversion.py"),
    *("train_control_net.py", "sdxl_train_control_net.py", "sdxl_train_control_net_lllite.py"),
    *("sdxl_train_control_net_lllite_old.py", "flux_train_control_net.py"),
)
"""LoRA first, then what trains the model itself, embeddings and ControlNets. Those of another version come behind."""
_NUMBERS = {"int": "int", "float": "float", "int_or_float": "number"}
_PATH_ENDS = ("_dir", "_path", "_file", "_folder")
_LEVELS = {
    "general": ("DATASET_ASCENDABLE", "SUBSET_ASCENDABLE", "DB_SUBSET_ASCENDABLE", "DO_SUBSET_ASCENDABLE"),
    "datasets": ("DATASET_ASCENDABLE", "SUBSET_ASCENDABLE", "DB_SUBSET_ASCENDABLE", "DO_SUBSET_ASCENDABLE"),
    "subsets": ("SUBSET_ASCENDABLE", "DB_SUBSET_DISTINCT", "DB_SUBSET_ASCENDABLE", "DO_SUBSET_ASCENDABLE"),
    "subsets fine-tuning": ("SUBSET_ASCENDABLE", "FT_SUBSET_DISTINCT", "DO_SUBSET_ASCENDABLE"),
    "subsets controlnet": ("SUBSET_ASCENDABLE", "CN_SUBSET_DISTINCT", "CN_SUBSET_ASCENDABLE", "DO_SUBSET_ASCENDABLE"),
}
"""library/config_util.py, ConfigSanitizer.__init__: which blocks a level is made of."""
_CORE = frozenset({"DATASET_ASCENDABLE", "SUBSET_ASCENDABLE", "DB_SUBSET_DISTINCT"})
"""Blocks that every version since the dataset file has."""
_DEFAULTS = ("BaseDatasetParams", "DreamBoothDatasetParams", "BaseSubsetParams", "DreamBoothSubsetParams")
_CONVERTERS = {
    "int": "int",
    "float": "float",
    "parse_floats": "floats",
    "parse_ints": "ints",
    "parse_kv_pairs": "pairs",
    "parse_block_selection": "blocks",
    "literal_eval": "list",
}
_NOT_NETWORKS = frozenset({"networks.control_net_lllite"})


def read_checkout(root: Path, paths: Iterable[str] = ()) -> dict[str, Any]:
    """Everything that the files in `catalogue/` say, and the authors' help texts, for this checkout. 0.8 s of CPU.

    `paths` are names of options known to be paths, which their parsers call text. Raises UserError with the file and
    the line when a script, the dataset schema or the LoRA module is missing, no Python, or laid out in another way.
    """
    sources = Sources(root)
    scripts = {MAIN: script_options(sources, MAIN)}
    for name in (*SCRIPTS, *sorted(_others(root))):
        if name not in scripts and (root / name).is_file():
            scripts[name] = script_options(sources, name)
    known = frozenset(paths)
    return {
        "v": VERSION,
        "options": option_rows(scripts, known),
        "help": _helps(scripts),
        "dataset": dataset_schema(root / "library" / "config_util.py"),
        "network_args": {"v": VERSION, "modules": dict(_networks(root))},
        "optimizers": list(_optimizers(root / "library" / "train_util.py")),
    }


def option_rows(scripts: Mapping[str, list[Option]], paths: frozenset[str]) -> dict[str, Any]:
    """`options` of train_network.py as [kind, default, choices or item], and what each other script has otherwise.

    `scripts` → name → rows that are added or differ; `without` → the names that a script does not have.
    """
    rows = {name: {option.dest: _row(option, paths) for option in options} for name, options in scripts.items()}
    base = rows[MAIN]
    return {
        "v": VERSION,
        "options": base,
        "scripts": {name: {key: row for key, row in own.items() if base.get(key) != row} for name, own in rows.items()},
        "without": {
            name: missing for name, own in rows.items() if (missing := [key for key in base if key not in own])
        },
    }


def dataset_schema(path: Path) -> dict[str, Any]:
    """Keys, kinds, defaults and levels of the dataset file (config_util.py: ConfigSanitizer and dataclasses)."""
    blocks: dict[str, dict[str, str]] = {}
    renamed: dict[str, str] = {}
    classes = {node.name: node for node in read_tree(path).body if isinstance(node, ast.ClassDef)}
    for name, value in _assigned(classes["ConfigSanitizer"].body if "ConfigSanitizer" in classes else []):
        if name.endswith("_SCHEMA") and isinstance(value, ast.Dict):
            pairs = zip(value.keys, value.values, strict=True)
            blocks[name.removesuffix("_SCHEMA")] = {_key(key): _schema_kind(kind) for key, kind in pairs if key}
        elif name == "ARGPARSE_OPTNAME_TO_CONFIG_OPTNAME":
            renamed = _literal(value) or {}
    if not blocks.keys() >= _CORE:
        raise UserError(f"{path} has no schema of the dataset file", "This version of sd-scripts is laid out anew.")
    levels = {
        level: sorted({key for block in parts for key in blocks.get(block, ())}) for level, parts in _LEVELS.items()
    }
    levels["datasets"] = sorted([*levels["datasets"], "subsets"])
    wanted = {block for level in _LEVELS.values() for block in level}
    kinds = {key: kind for block in sorted(wanted & blocks.keys()) for key, kind in blocks[block].items()}
    defaults: dict[str, Any] = {}
    for name in reversed(_DEFAULTS):  # a dataset's own default stands before a subset's of the same name
        for key, value in _assigned(classes[name].body if name in classes else []):
            found = _literal(value)
            defaults[key] = found[0] if isinstance(found, tuple) and len(found) == 1 else found
    return {
        "v": VERSION,
        "kinds": dict(sorted(kinds.items())),
        "defaults": {
            key: defaults.get(key) for key in sorted(kinds.keys() - {"metadata_file", "conditioning_data_dir"})
        },
        "levels": levels,
        "renamed": renamed,
    }


def _row(option: Option, paths: frozenset[str]) -> list[Any]:
    default, kind = option.default, _NUMBERS.get(option.type or "str", "str")
    if option.action in {"store_true", "store_false", "BooleanOptionalAction"}:
        return ["bool", bool(default)]
    if option.nargs in ("*", "+") or isinstance(option.nargs, int) or option.action in {"append", "extend"}:
        return ["list", default, kind]
    if option.choices is not None:
        return ["choice", default, list(option.choices)]
    is_path = option.dest in paths or option.type == "Path" or option.dest.endswith(_PATH_ENDS)
    return ["path" if kind == "str" and is_path and option.dest not in _NO_PATHS else kind, default]


_NO_PATHS = frozenset({"huggingface_path_in_repo"})
"""Named like a path of this machine and none."""


def _helps(scripts: Mapping[str, list[Option]]) -> dict[str, Any]:
    """`options`: name → the authors' words; `scripts`: the same for scripts that word one otherwise."""
    common: dict[str, str] = {}
    for options in scripts.values():
        for option in options:
            common.setdefault(option.dest, option.help)
    own = {
        name: {option.dest: option.help for option in options if option.help != common[option.dest]}
        for name, options in scripts.items()
    }
    return {"options": common, "scripts": {name: words for name, words in own.items() if words}}


def _others(root: Path) -> Iterator[str]:
    """Training scripts that this version does not know by name."""
    for path in root.glob("*_train*.py"):
        if path.name not in SCRIPTS and b"def setup_parser" in path.read_bytes():
            yield path.name


def _networks(root: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Module → the keys that its `create_network` takes out of network_args, with their kind."""
    folder = root / "networks"
    if not (folder / "lora.py").is_file():
        raise UserError(f"{folder} has no lora.py", "This version of sd-scripts is laid out in another way.")
    for path in sorted(folder.glob("*.py")):
        name = f"networks.{path.stem}"
        if name in _NOT_NETWORKS or b"def create_network(" not in path.read_bytes():
            continue
        functions = [node for node in read_tree(path).body if isinstance(node, ast.FunctionDef)]
        yield name, dict(sorted(_kwargs([node for function in functions for node in ast.walk(function)])))


def _kwargs(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """The keys read from anything called …kwargs, with what becomes of their value in one function or another."""
    names: dict[str, list[str]] = {}
    for node in nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "get":
            continue
        of = node.func.value
        if isinstance(of, ast.Name) and of.id.endswith("kwargs") and node.args:
            key = _literal(node.args[0])
            if isinstance(key, str):
                names.setdefault(key, [])
    for node in nodes:
        if isinstance(node, ast.Call) and node.args:
            converter = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for key in names:
                if converter in _CONVERTERS and _mentions(node.args[0], key):
                    names[key].append(_CONVERTERS[converter])
        elif isinstance(node, ast.Compare) and any(_literal(each) in ("True", "true") for each in node.comparators):
            for key in names:
                if _mentions(node.left, key):
                    names[key].append("bool")
    for key, kinds in names.items():
        yield key, kinds[0] if kinds else "str"


def _mentions(node: ast.expr, key: str) -> bool:
    """Whether `node` is the variable called as `key`, a method of it, or the look-up of `key` itself."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr != "get":
        node = node.func.value
    if isinstance(node, ast.Name):
        return node.id == key
    return isinstance(node, ast.Call) and bool(node.args) and _literal(node.args[0]) == key


def _optimizers(path: Path) -> Iterator[str]:
    """The names that `get_optimizer` compares with (library/train_util.py), without regard to case there."""
    found: set[str] = set()
    for function in read_tree(path).body:
        if isinstance(function, ast.FunctionDef) and function.name == "get_optimizer":
            for node in ast.walk(function):
                if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq):
                    right = node.comparators[0]
                    if isinstance(right, ast.Call) and isinstance(right.func, ast.Attribute):
                        text = _literal(right.func.value)
                        if isinstance(text, str) and getattr(node.left, "id", "") == "optimizer_type":
                            found.add(text)
    if not found:
        raise UserError(f"{path} names no optimizer", "This version of sd-scripts is laid out in another way.")
    yield from sorted(found)


def _assigned(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def _key(node: ast.expr) -> str:
    """`"image_dir"` and `Required("image_dir")`."""
    return str(_literal(node.args[0] if isinstance(node, ast.Call) and node.args else node))


def _schema_kind(node: ast.expr) -> str:
    """What voluptuous is told: a type, `Any(float, int)`, or one of the two converters of sizes and ranges."""
    if isinstance(node, ast.Name):
        return node.id
    text = ast.unparse(node)
    if "scalar_or_twodim" in text:
        return "resolution"
    if "twodim" in text:
        return "pair"
    return "number" if text.startswith("Any(") else "str"


def _literal(node: ast.expr) -> Any:
    read: Callable[[ast.expr], Any] = ast.literal_eval
    try:
        return read(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
