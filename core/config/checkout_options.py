"""The options of a checkout's training scripts, read from their source: nothing of it is imported or run.

Every script has a `setup_parser` that calls `add_…_arguments` functions of other modules; those calls are followed,
with the flags that they are given.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.problems import UserError

START = "setup_parser"
_UNKNOWN = object()
_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Option:
    """One `add_argument` call. `type` is the name of its converter; `help` is the authors' own, in their languages."""

    dest: str
    flags: tuple[str, ...]
    action: str = "store"
    type: str | None = None
    default: Any = None
    choices: tuple[Any, ...] | None = None
    nargs: str | int | None = None
    help: str = ""


@dataclass(slots=True)
class _Module:
    """A source file: its functions, the constants at its top, and what its imports bring in."""

    path: Path
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imported: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Name here → (module, name there); None for the module itself."""


class Sources:
    """The modules of one checkout, each parsed once and only when it is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[Path, _Module] = {}

    def script(self, name: str) -> _Module:
        """A script of the checkout's top folder; UserError when it is not there."""
        return self._load(self.root / name)

    def find(self, dotted: str) -> _Module | None:
        """The module of that name inside the checkout; None for anybody else's."""
        path = self.root.joinpath(*dotted.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return self._load(file)
        return None

    def _load(self, path: Path) -> _Module:
        if path not in self._modules:
            self._modules[path] = _parsed(path, self.root)
        return self._modules[path]


def read_tree(path: Path) -> ast.Module:
    """The syntax tree of a source file; UserError that names the line when it is none."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of the checkout's authors' business
            return ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror or error}", "Is this a checkout of sd-scripts?"
        ) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(f"{path}{line} is not Python: {why}", "Bring the checkout into order: git status") from error


def script_options(sources: Sources, script: str) -> list[Option]:
    """The options that `script` takes, in the order in which its parser gets them.

    Raises UserError when the script is not there, is not Python, or builds its parser in another way.
    """
    module = sources.script(script)
    if START not in module.functions:
        raise UserError(f"{module.path} has no {START}()", "This version of sd-scripts is laid out in another way.")
    found = _returned(sources, module, module.functions[START], {}, 0)
    if not found:
        raise UserError(f"{module.path}: {START}() names no option", "This version of sd-scripts is laid out anew.")
    unique: dict[str, Option] = {}
    for option in found:
        unique.setdefault(option.dest, option)
    return list(unique.values())


def _parsed(path: Path, root: Path) -> _Module:
    module = _Module(path)
    for node in read_tree(path).body:
        if isinstance(node, ast.FunctionDef):
            module.functions[node.name] = node
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            module.constants[node.targets[0].id] = node.value
        elif isinstance(node, ast.Import):
            for alias in node.names:
                module.imported[alias.asname or alias.name] = (alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            start = _package(path, root, node.level) if node.level else ""
            base = ".".join(part for part in (start, node.module or "") if part)
            for alias in node.names:
                module.imported[alias.asname or alias.name] = (base, alias.name)
    return module


def _package(path: Path, root: Path, level: int) -> str:
    folder = path.parent
    for _ in range(level - 1):
        folder = folder.parent
    return ".".join(folder.relative_to(root).parts) if folder.is_relative_to(root) else ""


def _returned(
    sources: Sources, module: _Module, function: ast.FunctionDef, given: Mapping[str, Any], depth: int
) -> list[Option]:
    """What the parser has got when `function` is done. Parsers are the names that one was put into, or passed in as."""
    if depth > _DEPTH:
        return []
    parsers = {name for name, value in given.items() if value is _PARSER}
    found: list[Option] = []
    for node in _statements(function.body, given):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            call = node.value
            name = _called(call)
            if name in {"ArgumentParser", "add_argument_group", "add_mutually_exclusive_group"}:
                parsers.add(node.targets[0].id)
            else:
                target = _function(sources, module, call.func)
                if target is not None and target[1].name == START:
                    parsers.add(node.targets[0].id)
                    found += _returned(sources, *target, {}, depth + 1)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found = _applied(sources, module, node.value, given, parsers, found, depth)
    return found


_PARSER = object()
"""Stands for the parser among the arguments of a function."""


def _applied(
    sources: Sources,
    module: _Module,
    call: ast.Call,
    given: Mapping[str, Any],
    parsers: set[str],
    found: list[Option],
    depth: int,
) -> list[Option]:
    """`found` after one call that stands as a statement."""
    func = call.func
    if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id in parsers:
        if func.attr == "add_argument":
            option = _option(sources, module, call)
            return found if option is None else [*found, option]
        if func.attr == "set_defaults":
            new = {each.arg: _value(sources, module, each.value) for each in call.keywords if each.arg}
            return [
                replace(each, default=new[each.dest]) if new.get(each.dest, _UNKNOWN) is not _UNKNOWN else each
                for each in found
            ]
        return found
    target = _function(sources, module, func)
    if target is None:
        return found
    bound = _bound(call, target[1], given, parsers, lambda node: _value(sources, module, node))
    if not any(value is _PARSER for value in bound.values()):
        return found
    return [*found, *_returned(sources, *target, bound, depth + 1)]


def _bound(
    call: ast.Call, function: ast.FunctionDef, given: Mapping[str, Any], parsers: set[str], value_of: Any
) -> dict[str, Any]:
    """The arguments of `function` in this call, defaults included."""

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            if node.id in parsers:
                return _PARSER
            if node.id in given:
                return given[node.id]
        return value_of(node)

    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    defaults = function.args.defaults
    bound = {name: value_of(node) for name, node in zip(names[len(names) - len(defaults) :], defaults, strict=True)}
    for argument, node in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        if node is not None:
            bound[argument.arg] = value_of(node)
    bound |= {name: value(node) for name, node in zip(names, call.args, strict=False)}
    bound |= {each.arg: value(each.value) for each in call.keywords if each.arg}
    return bound


def _statements(body: list[ast.stmt], given: Mapping[str, Any]) -> Iterator[ast.stmt]:
    """The statements that are come by; a condition that cannot be told counts as true."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body if _is_true(node.test, given) else node.orelse, given)
        elif isinstance(node, ast.With | ast.Try):
            yield from _statements(node.body, given)
        else:
            yield node


def _is_true(test: ast.expr, given: Mapping[str, Any]) -> bool:
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.Name):
        value = given.get(test.id, _UNKNOWN)
        return value is _UNKNOWN or bool(value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and isinstance(test.operand, ast.Name):
        value = given.get(test.operand.id, _UNKNOWN)
        return value is _UNKNOWN or not value
    if isinstance(test, ast.BoolOp):
        parts = [_is_true(part, given) for part in test.values]
        return all(parts) if isinstance(test.op, ast.And) else any(parts)
    return True


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _function(sources: Sources, module: _Module, node: ast.expr) -> tuple[_Module, ast.FunctionDef] | None:
    """The function of the checkout that `node` (a name, or module.name) means here."""
    if isinstance(node, ast.Name):
        if node.id in module.functions:
            return module, module.functions[node.id]
        base, name = module.imported.get(node.id, ("", None))
        there = sources.find(base) if base and name is not None else None
        return (there, there.functions[name]) if there is not None and name in there.functions else None
    if isinstance(node, ast.Attribute):
        there = _module(sources, module, node.value)
        return (there, there.functions[node.attr]) if there is not None and node.attr in there.functions else None
    return None


def _module(sources: Sources, module: _Module, node: ast.expr) -> _Module | None:
    dotted = ast.unparse(node)
    if dotted not in module.imported:
        return None
    base, name = module.imported[dotted]
    return sources.find(base if name is None else f"{base}.{name}" if base else name)


def _option(sources: Sources, module: _Module, call: ast.Call) -> Option | None:
    flags = tuple(node.value for node in call.args if isinstance(node, ast.Constant) and isinstance(node.value, str))
    if not flags:
        return None
    words = {each.arg: each.value for each in call.keywords if each.arg}

    def literal(name: str, otherwise: Any = None) -> Any:
        value = _value(sources, module, words[name]) if name in words else otherwise
        return otherwise if value is _UNKNOWN else value

    action = literal("action", "store")
    if "action" in words and not isinstance(words["action"], ast.Constant):
        action = ast.unparse(words["action"]).rsplit(".", 1)[-1]
    named = next((flag for flag in flags if flag.startswith("--")), flags[0])
    dest = literal("dest") or named.lstrip("-").replace("-", "_")
    switched = {"store_true": False, "store_false": True}.get(action)
    choices = literal("choices")
    return Option(
        dest,
        flags,
        action,
        ast.unparse(words["type"]).rsplit(".", 1)[-1] if "type" in words else None,
        literal("default", switched),
        tuple(choices) if isinstance(choices, list | tuple) else None,
        literal("nargs"),
        _text(sources, module, words["help"]) if "help" in words else "",
    )


def _value(sources: Sources, module: _Module, node: ast.expr) -> Any:
    """The value of a literal, or of a constant of some module; `_UNKNOWN` for what only running would tell."""
    for _ in range(_DEPTH):
        if isinstance(node, ast.Name) and node.id in module.constants:
            node = module.constants[node.id]
        elif isinstance(node, ast.Name) and node.id in module.imported:
            base, name = module.imported[node.id]
            there = sources.find(base) if name is not None else None
            if there is None or name not in there.constants:
                return _UNKNOWN
            module, node = there, there.constants[name]
        elif isinstance(node, ast.Attribute):
            there = _module(sources, module, node.value)
            if there is None or node.attr not in there.constants:
                return _UNKNOWN
            module, node = there, there.constants[node.attr]
        else:
            break
    try:
        if isinstance(node, ast.Subscript):
            return _value(sources, module, node.value)[ast.literal_eval(node.slice)]
        return ast.literal_eval(node)
    except (ValueError, TypeError, LookupError, SyntaxError, MemoryError, RecursionError):
        return _UNKNOWN


def _text(sources: Sources, module: _Module, node: ast.expr) -> str:
    """The words of a help text, put together as Python would."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(sources, module, node.left) + _text(sources, module, node.right)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(sources, module, part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        value = _value(sources, module, node.value)
        return "…" if value is _UNKNOWN else str(value)
    value = _value(sources, module, node)
    return value if isinstance(value, str) else ""
