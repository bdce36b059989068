"""Why a training failed: the trainer's last words turned into one sentence and what to do about it.

The cause is the last `XxxError: …` line before a following `steps:` bar and before accelerate's CalledProcessError
(core/help/trainer.md). Texts are those of the recordings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from core.text import printable, strip_escapes

_ERROR = re.compile(
    r"^(?:[\w.]+\.)?([A-Z]\w*(?:Error|Exception|Interrupt|Invalid|Exit|NotFound|Unavailable)|BadZipFile)"
    r"(?:: ?(.*))?$"
)
_USAGE = re.compile(r"^[\w.-]+\.py: error: (.+)$")
_STEP = re.compile(r"steps:\s+\d+%\|.*?\|\s*(\d+)/\d+ \[.*?avr_loss=(\S+?)\]")


@dataclass(frozen=True, slots=True)
class Cause:
    """`kind` is a stable word, `line` the log line that it rests on, printable."""

    kind: str
    sentence: str
    hint: str | None
    line: str | None

    def __str__(self) -> str:
        return self.sentence if self.hint is None else f"{self.sentence} {self.hint}"


def diagnose(log: str, returncode: int | None, *, oom_killed: bool = False) -> str | None:
    """One sentence with its remedy, or None when nothing is wrong (or nothing is known)."""
    cause = find_cause(log, returncode, oom_killed=oom_killed)
    return None if cause is None else str(cause)


def find_cause(log: str, returncode: int | None, *, oom_killed: bool = False) -> Cause | None:
    """The cause of an end, from the end of the output (256 KiB are plenty) and the exit code (None = unknown)."""
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", strip_escapes(log))]
    if (cause := _no_data(lines)) is not None:
        return cause
    if returncode in (0, None) and (cause := _not_a_number(lines)) is not None:
        return cause
    if returncode == 0:
        return None
    if returncode is not None and returncode < 0:
        return _signalled(returncode, lines, oom_killed)
    for line in reversed(lines):
        if match := _USAGE.match(line):
            return _usage(match[1], line)
    found = _last_error(lines)
    if found is None:
        return _spawn_failure(lines)
    name, message, line = found
    if (cause := _not_a_number(lines)) is not None and name not in {"OutOfMemoryError", "KeyboardInterrupt"}:
        return cause
    return _explain(name, message, line, lines)


def _last_error(lines: list[str]) -> tuple[str, str, str] | None:
    for line in reversed(lines):
        match = _ERROR.match(line.strip())
        if match and match[1] != "CalledProcessError":
            return match[1], match[2] or "", line.strip()
    return None


def _no_data(lines: list[str]) -> Cause | None:
    for line in reversed(lines):
        if "No data found. Please verify" in line:
            return Cause(
                "no-data",
                "The trainer found no images to train on.",
                "Check image_dir of each subset in dataset.toml: relative paths start at the workspace.",
                printable(line.strip()),
            )
    return None


def _not_a_number(lines: list[str]) -> Cause | None:
    first = None
    for line in lines:
        match = _STEP.match(line)
        if match and match[2].lower() == "nan":
            first = match if first is None else first
        elif match:
            first = None  # the bar is drawn with the old value first
    if first is None:
        return None
    return Cause(
        "nan",
        f"The loss became NaN (not a number) at step {first[1]}: the checkpoints from there on are useless.",
        "Lower learning_rate, or use mixed_precision bf16, or turn off what was changed last.",
        printable(first[0]),
    )


def _signalled(returncode: int, lines: list[str], oom_killed: bool) -> Cause:
    from core.runs.outcome import signal_name

    name = signal_name(returncode)
    last = next((printable(line.strip()) for line in reversed(lines) if line.strip()), None)
    if oom_killed:
        return Cause(
            "killed-oom",
            "The kernel killed the trainer because the machine ran out of memory (RAM).",
            "Use fewer max_data_loader_n_workers, or cache latents to disk, or a machine with more memory.",
            last,
        )
    if name == "SIGKILL":
        return Cause(
            "killed",
            "The trainer was killed from outside with SIGKILL.",
            "Often that is the kernel when memory (RAM) runs out: see `dmesg`; else somebody ended it.",
            last,
        )
    sentences = {
        "SIGINT": "The trainer was interrupted from outside (SIGINT).",
        "SIGTERM": "The trainer was ended from outside (SIGTERM): by somebody, or by the machine shutting down.",
        "SIGHUP": "The trainer was ended because its terminal was closed (SIGHUP).",
        "SIGSEGV": "The trainer crashed (segmentation fault).",
        "SIGBUS": "The trainer crashed (SIGBUS): often /dev/shm or the disk is full.",
        "SIGABRT": "The trainer crashed (SIGABRT).",
    }
    hint = "Nothing is saved on a signal; resume from the last state, if there is one."
    if name in {"SIGSEGV", "SIGABRT"}:
        hint = "Often torch, the driver and xformers do not fit each other: run `kohya-tui doctor`."
    return Cause("signal", sentences.get(name, f"The trainer was ended by {name}."), hint, last)


def _usage(message: str, line: str) -> Cause:
    hint = "Correct the option's name or value."
    if message.startswith("unrecognized arguments"):
        hint = "Correct or remove it; this sd-scripts does not know it."
    return Cause("bad-option", f"The trainer refused its command line: {printable(message)}.", hint, printable(line))


def _spawn_failure(lines: list[str]) -> Cause | None:
    for line in reversed(lines):
        if line.startswith("kohya-tui: "):
            return Cause("start", printable(line.removeprefix("kohya-tui: ")), None, printable(line))
        if "can't open file" in line:
            return Cause(
                "no-script",
                f"Python did not find the script: {printable(line.strip())}.",
                "Check the path of sd-scripts: kohya-tui doctor",
                printable(line),
            )
    return None


Rule = tuple[str, Callable[[str, str], bool], str, str | None]
"""kind, test(error name, message), sentence (with {message}), remedy."""


def _has(*parts: str) -> Callable[[str, str], bool]:
    return lambda name, message: any(part.lower() in f"{name}: {message}".lower() for part in parts)


_RULES: tuple[Rule, ...] = (
    (
        "out-of-memory",
        _has("OutOfMemoryError", "CUDA out of memory"),
        "The GPU ran out of memory{sizes}.",
        "Lower train_batch_size or resolution, or turn on gradient_checkpointing and cache_latents.",
    ),
    (
        "illegal-memory",
        _has("illegal memory access"),
        "The GPU driver reported an illegal memory access.",
        "Try again; if it comes back, turn off xformers, lower overclocking, or update the driver.",
    ),
    ("cuda", _has("CUDA error", "CUDNN_STATUS", "cuBLAS"), "The GPU failed: {message}.", "Run `kohya-tui doctor`."),
    (
        "disk-full",
        _has("No space left on device", "Disk quota exceeded", "SafetensorError: Error while serializing: IoError"),
        "The disk is full: the last checkpoint may be cut off.",
        "Free some space, then resume or start again; save less often or fewer states.",
    ),
    (
        "xformers",
        _has("No xformers", "No module named 'xformers'"),
        "xformers is asked for, but it is not installed in the trainer's Python.",
        "Use sdpa = true in place of xformers = true in train.toml.",
    ),
    (
        "encoding",
        _has("UnicodeEncodeError"),
        "The trainer cannot print its Japanese messages in this encoding.",
        "Set PYTHONUTF8=1 (runs started by kohya-tui have it).",
    ),
    (
        "caption-encoding",
        _has("UnicodeDecodeError"),
        "A caption or config file is not UTF-8: {message}.",
        "The log names the file above; save it as UTF-8.",
    ),
    (
        "workers",
        _has("persistent_workers option needs num_workers > 0"),
        "persistent_data_loader_workers needs max_data_loader_n_workers above 0.",
        "Set one worker or more, or persistent_data_loader_workers = false.",
    ),
    (
        "precision",
        _has("Unknown mixed_precision mode"),
        "mixed_precision has an unknown value: {message}.",
        'Use "no", "fp16" or "bf16".',
    ),
    (
        "network-args",
        _has("not enough values to unpack (expected 2, got 1)"),
        "network_args or optimizer_args is not a list of `key=value` texts.",
        'Write it like network_args = ["conv_dim=4", "conv_alpha=1"].',
    ),
    (
        "image-too-large",
        _has("image too large, but cropping and bucketing are disabled"),
        "An image is larger than the resolution, and nothing may shrink it: {message}.",
        "Set enable_bucket = true in dataset.toml.",
    ),
    (
        "resolution",
        _has("resolution is required"),
        "The trainer got no resolution.",
        "Set it under [general] in dataset.toml, and pass a dataset.toml: one file for all is not read by sd-scripts.",
    ),
    (
        "caption-empty",
        _has("caption file is empty"),
        "A caption file is empty: {message}.",
        "Write tags into it, or delete it.",
    ),
    (
        "dataset-config",
        _has("MultipleInvalid", "extra keys not allowed"),
        "dataset.toml has a key or value that sd-scripts refuses: {message}.",
        "The path in the message names the place.",
    ),
    (
        "resumed-finished",
        _has("max_train_steps should be greater than initial step"),
        "This state is at the end of its training already: nothing is left to do.",
        "Raise max_train_epochs, or start a new run with network_weights.",
    ),
    (
        "model-missing",
        _has(
            "Cannot load model", "model is not found", "does not appear to have a file named", "is not a local folder"
        ),
        "The base model or a part of it is missing: {message}.",
        "Put the checkpoint into models/ and name it in pretrained_model_name_or_path.",
    ),
    (
        "sample-prompts",
        _has("stat: path should be string", "cannot access local variable 'prompts'", "referenced before assignment"),
        "Samples are asked for, but there is no prompt file (.txt, .toml or .json).",
        "Write prompts.txt, or remove sample_every_n_epochs and sample_every_n_steps.",
    ),
    (
        "torch-missing",
        _has("No module named"),
        "A package is missing in the trainer's Python: {message}.",
        "Install it there (`kohya-tui doctor` names that Python).",
    ),
    (
        "image",
        _has("UnidentifiedImageError", "cannot identify image file", "ZeroDivisionError", "Truncated File Read"),
        "An image cannot be read: {message}.",
        "The log names the file above; replace or remove it.",
    ),
    (
        "cache",
        _has("BadZipFile"),
        "A latents cache (.npz) is broken.",
        "Delete the .npz files beside the images.",
    ),
    ("interrupted", _has("KeyboardInterrupt"), "The trainer was interrupted from outside (SIGINT).", None),
    (
        "file",
        _has("FileNotFoundError", "No such file or directory"),
        "A file is missing: {message}.",
        "Check the paths in the config: relative ones start at the workspace.",
    ),
)


def _explain(name: str, message: str, line: str, lines: list[str]) -> Cause:
    shown = printable(message).rstrip(" .")
    shown = re.sub(r" / [^:]*[\u3040-\u30ff\u4e00-\u9fff][^:]*(?=: |$)", "", shown)  # the Japanese half
    if len(shown) > 240:
        shown = f"{shown[:239]}…"
    for kind, matches, sentence, hint in _RULES:
        if matches(name, message):
            text = sentence.replace("{message}", shown or name).replace("{sizes}", _sizes(message))
            return Cause(kind, text, hint, printable(line))
    return Cause(
        "error", f"The trainer failed with {name}{f': {shown}' if shown else ''}.", _place(lines, line), printable(line)
    )


def _sizes(message: str) -> str:
    wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", message)
    total = re.search(r"total capacity of ([\d.]+ \w+)", message)
    free = re.search(r"of which ([\d.]+ \w+) is free", message)
    parts = []
    if wanted:
        parts.append(f"it wanted {wanted[1]} more")
    if free and total:
        parts.append(f"{free[1]} of {total[1]} were free")
    return f" ({', '.join(parts)})" if parts else ""


def _place(lines: list[str], line: str) -> str | None:
    """The last `File "…", line N, in f` of the traceback above the error."""
    end = max(index for index, text in enumerate(lines) if text.strip() == line)
    for text in reversed(lines[:end]):
        if match := re.match(r'\s*File "([^"]+)", line (\d+)', text):
            return f"It arose in {printable(match[1])}, line {match[2]}."
    return None
