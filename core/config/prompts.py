"""Sample prompts as sd-scripts reads them: one a line, options behind ` --`; what is not changed stays byte for byte.

The grammar is that of train_util.py, load_prompts and line_to_prompt_dict (48d368fa). A line is a comment only when
its very first character is `#`. Of an option that stands twice the last one wins. What is unknown is ignored there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.problems import UserError

SEED = 42
"""Of the first prompt that is made here; each further one takes the next that is free."""
LARGEST_SEED = 2**64 - 1
_MADE_WITH_STEPS: Final = 20


@dataclass(frozen=True, slots=True)
class Option:
    """`--<flag>`. `key` is the trainer's name for it; `scripts` names those that read it, None for all."""

    flag: str
    key: str
    label: str
    kind: str
    pattern: str
    help: str
    scripts: frozenset[str] | None = None


_SD = frozenset({"train_network.py", "sdxl_train_network.py"})
OPTIONS: Final[tuple[Option, ...]] = (
    Option("n", "negative_prompt", "negative", "text", r"n (.+)", "What should not be in the picture."),
    Option("w", "width", "width", "int", r"w (\d+)", "Pixels; rounded down to a multiple of 8."),
    Option("h", "height", "height", "int", r"h (\d+)", "Pixels; rounded down to a multiple of 8."),
    Option("d", "seed", "seed", "int", r"d (\d+)", "Fixed, so that epochs can be compared; without one it is random."),
    Option("s", "sample_steps", "steps", "int", r"s (\d+)", "Sampling steps, 1 to 1000."),
    Option("l", "scale", "cfg", "float", r"l ([\d\.]+)", "How closely the prompt is followed (CFG scale)."),
    Option(
        "g",
        "guidance_scale",
        "guidance",
        "float",
        r"g ([\d\.]+)",
        "The guidance that is built into FLUX.1; 3.5 is usual.",
        frozenset({"flux_train_network.py"}),
    ),
    Option(
        "ss",
        "sample_sampler",
        "sampler",
        "text",
        r"ss (.+)",
        "Another sampler than sample_sampler, such as euler_a.",
        _SD,
    ),
    Option(
        "fs",
        "flow_shift",
        "flow shift",
        "float",
        r"fs (.+)",
        "Shift of the noise levels.",
        frozenset({"anima_train_network.py", "hunyuan_image_train_network.py"}),
    ),
    Option(
        "ctr",
        "cfg_trunc_ratio",
        "cfg until",
        "float",
        r"ctr (.+)",
        "Share of the steps that use CFG.",
        frozenset({"lumina_train_network.py"}),
    ),
    Option(
        "rcfg",
        "renorm_cfg",
        "cfg norm",
        "float",
        r"rcfg (.+)",
        "Limit for the norm of the CFG result.",
        frozenset({"lumina_train_network.py"}),
    ),
    Option("cn", "controlnet_image", "control", "text", r"cn (.+)", "Picture that a ControlNet follows.", frozenset()),
)
BY_FLAG: Final[Mapping[str, Option]] = {option.flag: option for option in OPTIONS}
_SIZES: Final[Mapping[str, int]] = {"train_network.py": 512}
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    # sample_image_inference and sample_images of each script
    "flux_train_network.py": {"sample_steps": 20, "scale": 1.0, "guidance_scale": 3.5},
    "lumina_train_network.py": {"width": 1024, "height": 1024, "sample_steps": 38, "scale": 3.5},
    "hunyuan_image_train_network.py": {"sample_steps": 20, "scale": 3.5, "flow_shift": 5.0},
    "anima_train_network.py": {"flow_shift": 3.0},
}
_EVERYWHERE: Final[Mapping[str, Any]] = {"width": 512, "height": 512, "sample_steps": 30, "scale": 7.5}
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def size_of(script: str) -> int:
    """The side of a sample picture that the model family of a training script draws well, in pixels."""
    return _SIZES.get(script, 1024)


def defaults(script: str) -> dict[str, Any]:
    """What the script takes for an option that a line does not have."""
    return {**_EVERYWHERE, **_DEFAULTS.get(script, {})}


def lines_of(text: str) -> list[str]:
    """The lines with their ends, as Python's universal newlines part them (no other separator counts)."""
    return _LINES.findall(text)


def is_prompt(line: str) -> bool:
    """Whether the trainer draws a picture of this line."""
    return bool(line.strip()) and line[0] != "#"


def prompt_lines(text: str) -> list[int]:
    """The numbers of the lines that are prompts, from 0."""
    return [number for number, line in enumerate(lines_of(text)) if is_prompt(line)]


def parse(line: str) -> dict[str, Any]:
    """What the trainer makes of a line: `prompt` and the options by its own names (line_to_prompt_dict)."""
    pieces = line.strip().split(" --")
    found: dict[str, Any] = {"prompt": pieces[0]}
    for piece in pieces:  # the prompt, too: one that begins with "n " is its own negative prompt there
        for option in OPTIONS:
            match = re.match(option.pattern, piece, re.IGNORECASE)
            if match is None:
                continue
            with contextlib.suppress(ValueError):  # logged by the trainer, and passed over
                found[option.key] = _read(option, match[1])
            break
    return found


def unknown(line: str) -> list[str]:
    """The pieces behind ` --` that the trainer ignores."""
    return [
        piece
        for piece in line.strip().split(" --")[1:]
        if not any(re.match(option.pattern, piece, re.IGNORECASE) for option in OPTIONS)
    ]


def effective(line: str, script: str) -> dict[str, Any]:
    """What is drawn: `parse` with the script's defaults, and the sizes as they are rounded."""
    found = {**defaults(script), **parse(line)}
    for side in ("width", "height"):
        found[side] = max(64, found[side] - found[side] % 8)
    return found


def as_drawn(line: str, script: str) -> str:
    """`effective` in one sentence, as the trainer will take the line."""
    found = effective(line, script)
    seed = f"seed {found['seed']}" if "seed" in found else "another seed every time"
    parts = [f"{found['width']}×{found['height']}", seed, f"{found['sample_steps']} steps", f"cfg {found['scale']:g}"]
    parts += [
        f"{option.label} {found[option.key]}"
        for option in OPTIONS[6:]
        if option.key in found and (option.scripts is None or script in option.scripts)
    ]
    ignored = [f"--{piece.split(' ')[0]}" for piece in unknown(line)]
    ignored += [
        f"--{option.flag}"
        for option in OPTIONS
        if option.key in parse(line) and option.scripts is not None and script not in option.scripts
    ]
    if ignored:
        parts.append(f"ignored: {' '.join(dict.fromkeys(ignored))}")
    return " · ".join(parts)


def value_of(line: str, flag: str) -> str:
    """The text of an option as it stands in the line (flag "" is the prompt); empty when it is not there."""
    pieces = line.strip().split(" --")
    if not flag:
        return pieces[0]
    matches = [re.match(BY_FLAG[flag].pattern, piece, re.IGNORECASE) for piece in pieces[1:]]
    return next((match[1] for match in reversed(matches) if match is not None), "")


def with_value(line: str, flag: str, text: str) -> str:
    """The line with one option (flag "" is the prompt) set to `text`, or without it; the rest as it was.

    Raises UserError for what the trainer would not read.
    """
    text = " ".join(text.split()) if not flag or BY_FLAG[flag].kind == "text" else text.strip()
    end = line[len(line.rstrip("\r\n")) :]
    body = line[: len(line) - len(end)]
    pieces = body.split(" --")
    if not flag:
        _check_prompt(text)
        blank = pieces[0][: len(pieces[0]) - len(pieces[0].lstrip())]
        after = pieces[0][len(pieces[0].rstrip()) :] if len(pieces) > 1 else ""
        return " --".join([blank + text + after, *pieces[1:]]) + end
    option = BY_FLAG[flag]
    if text:
        _check(option, text)
    at = [number for number, piece in enumerate(pieces) if number and re.match(option.pattern, piece, re.IGNORECASE)]
    if not text:
        return " --".join(piece for number, piece in enumerate(pieces) if number not in at) + end
    if not at:
        return f"{body.rstrip()} --{flag} {text}{end}"
    match = re.match(option.pattern, pieces[at[-1]], re.IGNORECASE)
    assert match is not None
    piece = pieces[at[-1]]
    kept = piece[match.end(1) :] if option.kind != "text" else match[1][len(match[1].rstrip()) :]
    pieces[at[-1]] = piece[: match.start(1)] + text + kept
    return " --".join(pieces) + end


def complaint(line: str) -> str | None:
    """What of a line would stop the trainer, or draw something else; None when it is as it looks."""
    found = parse(line)
    if found.get("seed", 0) > LARGEST_SEED:
        return "the seed is too large: the trainer stops at it"
    lost = unknown(line)
    return f"--{lost[0].split(' ')[0]} is ignored" if lost else None


# Whole files


def new_line(prompt: str, script: str, text: str = "") -> str:
    """A line for `prompt` in the size of the model family, with a seed that no line of `text` has; no line end."""
    if " --" in prompt:
        return prompt.strip()
    _check_prompt(prompt.strip())
    taken = {parse(line).get("seed") for line in lines_of(text) if is_prompt(line)}
    seed = next(number for number in range(SEED, SEED + len(taken) + 1) if number not in taken)
    side, usual = size_of(script), defaults(script)
    steps = min(usual["sample_steps"], _MADE_WITH_STEPS)
    return f"{prompt.strip()} --w {side} --h {side} --d {seed} --s {steps} --l {usual['scale']:g}"


def insert(text: str, line: str, at: int | None = None) -> str:
    """`line` put before line number `at`, or behind the last one; the file's own line ends are used."""
    lines, end = lines_of(text), _end_of(text)
    at = len(lines) if at is None else at
    if lines and at == len(lines) and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += end
    return "".join([*lines[:at], line.rstrip("\r\n") + end, *lines[at:]])


def replace(text: str, number: int, line: str) -> str:
    """`line` in the place of line `number`."""
    lines = lines_of(text)
    lines[number] = line
    return "".join(lines)


def remove(text: str, number: int) -> str:
    """The text without line `number`."""
    lines = lines_of(text)
    return "".join([*lines[:number], *lines[number + 1 :]])


def swap(text: str, one: int, other: int) -> str:
    """Two lines in each other's place; the line ends stay where they are."""
    lines = lines_of(text)
    bodies = {number: lines[number].rstrip("\r\n") for number in (one, other)}
    ends = {number: lines[number][len(bodies[number]) :] for number in (one, other)}
    lines[one], lines[other] = bodies[other] + ends[one], bodies[one] + ends[other]
    return "".join(lines)


def foreign(text: str, suffix: str) -> list[dict[str, Any]]:
    """The prompts of a `.toml` or `.json` file, as the trainer reads those. UserError when it could not."""
    import json
    import tomllib

    try:
        data = json.loads(text) if suffix == ".json" else tomllib.loads(text)
        rows = data if suffix == ".json" else [dict(**data["prompt"], **row) for row in data["prompt"]["subset"]]
        found = [parse(row) if isinstance(row, str) else dict(row) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        form = "a list of prompts" if suffix == ".json" else "[prompt] with [[prompt.subset]]"
        raise UserError(f"The prompts cannot be read: {error}", f"The trainer expects {form}.") from error
    for row in found:
        row.pop("subset", None)
    return found


def documents(text: str, script: str) -> Iterator[dict[str, Any]]:
    """Each prompt of a text as `--json` shows it: its line from 1, the text, what is read and what is drawn."""
    lines = lines_of(text)
    for number in prompt_lines(text):
        line = lines[number]
        yield {
            "line": number + 1,
            "text": line.strip(),
            "read": parse(line),
            "drawn": effective(line, script),
            "ignored": [f"--{piece}" for piece in unknown(line)],
        }


def shown_options(script: str, lines: Sequence[str] = ()) -> list[Option]:
    """The options that the script reads, and any other that stands in one of the lines."""
    there = {key for line in lines for key in parse(line)}
    return [each for each in OPTIONS if each.scripts is None or script in each.scripts or each.key in there]


def _read(option: Option, text: str) -> Any:
    if option.key == "sample_steps":
        return max(1, min(1000, int(text)))
    if option.key == "flow_shift":
        return text
    return {"int": int, "float": float, "text": str}[option.kind](text)


def _check(option: Option, text: str) -> None:
    if option.kind == "text":
        if " --" in f" {text}":
            raise UserError(f"{option.label} cannot hold ' --'", "The trainer would take what follows for an option.")
        return
    whole = r"\d+" if option.kind == "int" else r"(\d+\.?\d*|\.\d+)"
    if not re.fullmatch(whole, text, re.ASCII):
        words = "a whole number" if option.kind == "int" else "a number such as 7 or 7.5, without sign or exponent"
        raise UserError(f"{option.label} must be {words}, not {text!r}", option.help)
    if option.flag in {"w", "h"} and not 64 <= int(text) <= 8192:
        raise UserError(f"{option.label} must be from 64 to 8192, not {text}", option.help)
    if option.flag == "d" and int(text) > LARGEST_SEED:
        raise UserError(f"the seed {text} is too large", "The trainer would stop at it; 42 does as well.")


def _check_prompt(text: str) -> None:
    if not text:
        raise UserError("A prompt needs words", "Write what should be in the picture, or remove the line.")
    if text.startswith("#"):
        raise UserError("A line that begins with # is a comment", "Begin the prompt with another character.")
    if " --" in f" {text}":
        raise UserError("A prompt cannot hold ' --'", "The trainer takes what follows for an option.")


def _end_of(text: str) -> str:
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
