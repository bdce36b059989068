"""What the trainer's errors mean: patterns over the last words of torch, accelerate, transformers and sd-scripts.

The texts are those of real failures (tests/data/recordings, tests/data/failures). The first rule that fits wins, so the
narrow ones stand above the wide ones. A weak rule speaks of a consequence: it counts only when nothing else is found.
"""

from __future__ import annotations

from core.runs.cause import Rule, rule
from core.runs.causes_inputs import INPUTS
from core.runs.causes_machine import MACHINE

RULES: tuple[Rule, ...] = (
    *MACHINE,
    *INPUTS,
    rule("interrupted", r"^KeyboardInterrupt", "The trainer was interrupted from outside (SIGINT).", None),
    rule(
        "permission",
        r"PermissionError|Permission denied|Operation not permitted|EACCES",
        "The trainer may not read or write a file: {message}.",
        "Check its owner and permissions, and those of its folder.",
    ),
    rule(
        "output-gone",
        r"Parent directory .* does not exist|No such file or directory.*\.(?:safetensors|ckpt|bin|pkl|tfevents\S*)",
        "The output folder was removed while the training went on: {message}.",
        "What was not saved is lost; keep output/ in its place while a run goes on.",
    ),
    rule(
        "in-the-way",
        r"^FileExistsError: (?:\[Errno 17\] File exists: )?(?P<path>.+)",
        "A file stands where a folder is needed: {path}.",
        "Move it away, or choose another output_dir or logging_dir.",
    ),
    rule(
        "file",
        r"FileNotFoundError|No such file or directory|NotADirectoryError|IsADirectoryError",
        "A file is missing: {message}.",
        "Check the paths in the config: relative ones start at the workspace.",
    ),
    rule(
        "input-output",
        r"\[Errno 5\]|Input/output error|Stale file handle|\[Errno 116\]|Transport endpoint is not connected",
        "The disk or network folder failed: {message}.",
        "See `dmesg`; mount it again, then resume from the last state.",
    ),
    rule(
        "output-closed",
        r"BrokenPipeError",
        "The trainer's output was closed by whoever read it.",
        "Start it with kohya-tui, which writes to a file.",
        weak=True,
    ),
)
