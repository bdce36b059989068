"""Why a training failed: the trainer's last words turned into one sentence, the line it rests on and what to do.

The cause is the last error before a following `steps:` bar and before what the launchers add (accelerate's
CalledProcessError, torchrun's ChildFailedError), see core/help/trainer.md. What an error means: core.runs.causes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.runs.cause import Rule
from core.runs.causes import RULES
from core.text import printable, strip_escapes

_NAMED = re.compile(
    r"^(?:[\w.]+\.)?(_?[A-Z]\w*(?:Error|Exception|Interrupt|Invalid|Exit|NotFound|Unavailable|Warning)|BadZipFile)"
    r"(?:: ?(.*))?$"
)
_IN_TRACEBACK = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?(_?[A-Za-z]\w*)(?:: ?(.*))?$")
_USAGE = re.compile(r"^[\w.-]+\.py: error: (.+)$")
_FRAME = re.compile(r'\s*File "([^"]+)", line (\d+)')
_STEP = re.compile(r"steps:\s+\d+%\|.*?\|\s*(\d+)/\d+ \[.*?avr_loss=(\S+?)\]")
_RANK = re.compile(r"^(?:\[(?:rank|default)\d+\]: ?)+", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last):"
_WRAPPERS = frozenset({"CalledProcessError", "ChildFailedError", "SignalException", "ChildProcessError"})
_AFTERWARDS = frozenset({"UserWarning", "FutureWarning", "DeprecationWarning", "RuntimeWarning", "ResourceWarning"})
_DIED = re.compile(r"died with <Signals\.(SIG\w+): \d+>|exitcode\s*: -\d+ .*\((SIG\w+)\)")
_WHAT = re.compile(r"^\s*what\(\):\s+(.+)$")
_BNB = re.compile(r"^Error (.+?) at line \d+ in file (\S+)$")
"""What bitsandbytes prints before it ends the process by itself."""
_FILE = re.compile(
    r"(?:Error loading file|\(not UTF-8\)[^:]*|config file\.[^:]*|failed to get image size[^:]*): *(\S.*?)\s*$"
)
_LOADING = re.compile(r"Loading (?:settings|dataset config) from (\S.*?)(?:\.\.\.)?$")
_LEVEL = re.compile(r"^(?:\[?[\d/: -]{0,24}\]?)\s*(?:INFO|ERROR|WARNING)\s+(.*?)(?:\s+\w+\.py:\d+)?\s*$")
_MESSAGE_LINES = 14
"""How many lines behind an error's name belong to it: state dicts list keys by the hundred."""
_LOOK_BACK = 1500
_LONGEST = 240


@dataclass(frozen=True, slots=True)
class Cause:
    """`kind` is a stable word, `line` the log line that it rests on, printable."""

    kind: str
    sentence: str
    hint: str | None
    line: str | None

    def __str__(self) -> str:
        return self.sentence if self.hint is None else f"{self.sentence} {self.hint}"


@dataclass(frozen=True, slots=True)
class _Error:
    """One exception in the log: `message` may have several lines, `at` is the place of its first."""

    name: str
    message: str
    at: int

    @property
    def whole(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


def diagnose(log: str, returncode: int | None, *, oom_killed: bool = False) -> str | None:
    """One sentence with its remedy, or None when nothing is wrong (or nothing is known)."""
    cause = find_cause(log, returncode, oom_killed=oom_killed)
    return None if cause is None else str(cause)


def last_complaint(log: str) -> str | None:
    """What the trainer's last ERROR line says, for an end without an exception."""
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", strip_escapes(log)[-65536:])]
    for at in range(len(lines) - 1, -1, -1):
        if re.match(r"^\[?[\d/: -]{0,24}\]?\s*ERROR\s", lines[at]):
            return _shown(_joined(lines, at)) or None
    return None


def find_cause(log: str, returncode: int | None, *, oom_killed: bool = False) -> Cause | None:
    """The cause of an end, from the end of the output (256 KiB are plenty) and the exit code (None = unknown)."""
    text = _RANK.sub("", strip_escapes(log).replace("\r", "\n"))
    lines = [line.rstrip() for line in re.split(r"\n+", text)]
    if (cause := _no_data(lines)) is not None:
        return cause
    if returncode in (0, None) and (cause := _not_a_number(lines)) is not None:
        return cause
    if returncode == 0:
        return None
    errors = _errors(lines)
    found = _known(errors, lines)
    if returncode is not None and returncode < 0:
        # An abort has its own words (C++ exceptions); a kill has none, and what is in the log is older.
        if returncode in (-6, -11) and found is not None and not oom_killed and found.kind != "interrupted":
            return found
        return _signalled(_signal_name(returncode), lines, oom_killed)
    if found is not None and found.kind not in _VAGUE:
        return found
    for line in reversed(lines):
        if match := _USAGE.match(line):
            return _usage(match[1], line)
    if (cause := _not_a_number(lines)) is not None:
        return cause
    if (name := _killed_inside(lines, errors)) is not None or (oom_killed and (not errors or found is not None)):
        return _signalled(name or "SIGKILL", lines, oom_killed)
    if found is not None:
        return found
    last = next((error for error in reversed(errors) if error.name not in _WRAPPERS), None)
    if last is not None:
        shown = _shown(last.message)
        sentence = f"The trainer failed with {last.name}{f': {shown}' if shown else ''}."
        return Cause("error", sentence, _place(lines, last.at), printable(lines[last.at].strip()))
    if returncode is not None and 128 < returncode < 128 + 65:  # a shell in between
        return _signalled(_signal_name(128 - returncode), lines, oom_killed)
    return _spawn_failure(lines)


_VAGUE = frozenset({"interrupted", "worker-killed", "worker-died", "nccl", "output-closed"})
"""Causes that a kill from outside, a NaN or a refused command line explains better."""


def _errors(lines: list[str]) -> list[_Error]:
    """Exceptions in the order of the log: those at the end of a traceback, and lone ones with a telling name."""
    found = []
    inside = False
    begin = max(0, len(lines) - _LOOK_BACK)
    for at in range(begin, len(lines)):
        line = lines[at]
        if line.strip() == _TRACEBACK:
            inside = True
            continue
        if inside and (not line or line[0] in " \t|+"):
            continue
        match = (_IN_TRACEBACK.match(line) if inside else None) or _NAMED.match(line.strip())
        inside = False
        if match and match[1] not in _AFTERWARDS:
            found.append(_Error(match[1], "\n".join([match[2] or "", *_continued(lines, at + 1)]).strip(), at))
        elif match := _WHAT.match(line) or _BNB.match(line):
            found.append(_Error("RuntimeError", match[1], at))
    return found


def _continued(lines: list[str], begin: int) -> list[str]:
    """The further lines of a message: until a bar, a log line, another traceback."""
    rest = []
    for line in lines[begin : begin + _MESSAGE_LINES]:
        if line.strip() == _TRACEBACK or _STEP.search(line) or _LEVEL.match(line) or _NAMED.match(line):
            break
        if re.match(
            r"The above exception|During handling|steps:|[WE]\d{4} |\d{4}-\d\d-\d\d |=====|exception raised", line
        ):
            break
        rest.append(line)
    return rest


def _known(errors: list[_Error], lines: list[str]) -> Cause | None:
    """What the last error means that means something; consequences (another rank went away) come second."""
    weak = None
    for error in reversed(errors):
        if error.name in _WRAPPERS:
            continue
        for rule in RULES:
            match = rule.pattern.search(error.whole)
            if match is None or rule.frame not in (_last_frame(lines, error.at) if rule.frame else ""):
                continue
            cause = _filled(rule, match, error, lines)
            if not rule.weak:
                return cause
            weak = weak or cause
            break
        else:
            if not _is_chained(error, lines):
                break  # an unknown error is the cause; what stands far above it was survived
    return weak


def _is_chained(error: _Error, lines: list[str]) -> bool:
    """Whether the error arose from another one right above it, in one chain or in another process."""
    before = "\n".join(lines[max(0, error.at - 120) : error.at])
    return "The above exception was" in before or "During handling of the above" in before


def _filled(rule: Rule, match: re.Match[str], error: _Error, lines: list[str]) -> Cause:
    values = {name: text.strip().rstrip(".") for name, text in match.groupdict().items() if text}
    values["message"] = _shown(error.message) or error.name
    values["sizes"] = _sizes(error.message)
    values["file"] = _file_named(lines, error.at) if "{file}" in rule.sentence else ""
    if "details" in values or "{details}" in rule.sentence:
        values["details"] = _shown(re.sub(r"\s+", " ", values.get("details", ""))) or "see the log"
    if "path" in values:
        values["place"] = _place_in_config(values["path"])
        values["path"] = _shown(values["path"].split("\n")[0])
    sentence, hint = rule.sentence, rule.hint
    for name, text in values.items():
        sentence = sentence.replace(f"{{{name}}}", printable(text))
    if rule.kind == "out-of-memory":
        hint = _memory_hint(lines, error, hint)
    return Cause(rule.kind, sentence, hint, printable(lines[error.at].strip()))


def _shown(message: str) -> str:
    """A message as part of a sentence: its first lines, the Japanese half left out, of bearable length."""
    text = " ".join(line.strip() for line in message.splitlines() if line.strip())
    text = re.split(r" CUDA kernel errors might be| For debugging consider passing| Compile with `TORCH_USE", text)[0]
    text = printable(text).rstrip(" .:")
    text = re.sub(r" / [^:]*[\u3040-\u30ff\u4e00-\u9fff][^:]*(?=: |$)", "", text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _place_in_config(path: str) -> str:
    """`num_repeat in subset 1 of dataset 1` of voluptuous' `['datasets'][0]['subsets'][0]['num_repeat']`."""
    parts = [part.strip("'\"") for part in re.findall(r"\[([^\]]+)\]", path)]
    places = []
    for index, part in enumerate(parts):
        if part.isdigit() and index and not parts[index - 1].isdigit():
            places.append(f"{parts[index - 1].removesuffix('s')} {int(part) + 1}")
    if not parts:
        return path
    last = parts[-1] if not parts[-1].isdigit() else ""
    words = [word for word in (f"`{last}`" if last else "", " of ".join(reversed(places))) if word]
    return " in ".join(words)


def _file_named(lines: list[str], at: int) -> str:
    """` (path)` of the file that sd-scripts names in a log line above (or right below) an error."""
    above = range(at - 1, max(-1, at - 200), -1)
    for number in (*above, *range(at, min(len(lines), at + 12))):
        if match := _FILE.search(_joined(lines, number)):
            return f" ({printable(match[1])})"
    for number in above:
        if match := _LOADING.search(_joined(lines, number)):
            return f" ({printable(match[1])})"
        if _LEVEL.match(lines[number]):
            break  # it was doing something else by then
    return ""


def _joined(lines: list[str], at: int) -> str:
    """A log message with the lines that rich wrapped, which are indented as far as the message is."""
    match = _LEVEL.match(lines[at])
    whole = match[1].strip() if match else lines[at]
    for more in lines[at + 1 : at + 10] if match else ():
        if not re.match(r"^\s{20,}\S", more) or _LEVEL.match(more):
            break
        # A path that is longer than the column is cut inside: its parts belong together.
        in_path = "/" in whole.rpartition(" ")[2] and whole[-1] not in ":,"
        whole += more.strip() if in_path and more.strip()[0] != "/" else f" {more.strip()}"
    return whole


def _no_data(lines: list[str]) -> Cause | None:
    for line in reversed(lines):
        if "No data found." in line and not line.startswith(" " * 29):
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


def _signal_name(returncode: int) -> str:
    from core.runs.outcome import signal_name

    return signal_name(returncode)


def _killed_inside(lines: list[str], errors: list[_Error]) -> str | None:
    """The signal that ended the trainer inside its launcher, which itself ended with 1 and told."""
    if not errors or errors[-1].name not in _WRAPPERS:
        return None
    signals = [match[1] or match[2] for line in lines[errors[-1].at :] if (match := _DIED.search(line))]
    # torchrun ends the other ranks with SIGTERM: the first failure is not that.
    if (name := next((name for name in signals if name != "SIGTERM"), None)) is not None:
        return name
    failed = any(error.name not in _WRAPPERS for error in errors)
    return signals[0] if signals and not failed else None


def _signalled(name: str, lines: list[str], oom_killed: bool) -> Cause:
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
        "SIGILL": "The trainer crashed (illegal instruction): a package was built for another processor.",
        "SIGFPE": "The trainer crashed (SIGFPE).",
        "SIGXCPU": "The trainer used up the CPU time that this shell allows (ulimit -t).",
        "SIGXFSZ": "The trainer wrote a file larger than this shell allows (ulimit -f).",
    }
    hint = "Nothing is saved on a signal; resume from the last state, if there is one."
    if name in {"SIGSEGV", "SIGABRT", "SIGILL"}:
        hint = "Often torch, the driver and xformers do not fit each other: run `kohya-tui doctor`."
    return Cause("signal", sentences.get(name, f"The trainer was ended by {name}."), hint, last)


def _usage(message: str, line: str) -> Cause:
    hint = "Correct the option's name or value."
    if message.startswith("unrecognized arguments"):
        hint = "Correct or remove it; this sd-scripts does not know it."
    return Cause("bad-option", f"The trainer refused its command line: {printable(message)}.", hint, printable(line))


def _spawn_failure(lines: list[str]) -> Cause | None:
    """An end without an exception: the program, the script or the config was not there."""
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        if line.startswith("kohya-tui: "):
            return Cause("start", printable(line.removeprefix("kohya-tui: ")), None, printable(line))
        if "can't open file" in line:
            return Cause(
                "no-script",
                f"Python did not find the script: {printable(line.strip())}.",
                "Check the path of sd-scripts: kohya-tui doctor",
                printable(line),
            )
        # sd-scripts train_util.py, read_config_from_file: an INFO line and code 1
        if match := re.match(r"(\S+) not found\.?$", _joined(lines, at)):
            return Cause(
                "config-missing",
                f"The trainer did not find its config file {printable(match[1])}.",
                "Was the run's folder moved? Start it again.",
                printable(line.strip()),
            )
    return None


def _sizes(message: str) -> str:
    wanted = re.search(r"Tried to allocate ([\d.]+ \w+)", message)
    total = re.search(r"total capacity of ([\d.]+ \w+)|; ([\d.]+ \w+) total capacity", message)
    free = re.search(r"of which ([\d.]+ \w+) is free|; ([\d.]+ \w+) free", message)
    other = re.search(r"(?<!this )\bProcess (\d+) has ([\d.]+ \w+) memory in use", message)
    parts = []
    if wanted:
        parts.append(f"it wanted {wanted[1]} more")
    if free and total:
        parts.append(f"{free[1] or free[2]} of {total[1] or total[2]} were free")
    if other:
        parts.append(f"process {other[1]} held {other[2]}")
    return f" ({', '.join(parts)})" if parts else ""


def _memory_hint(lines: list[str], error: _Error, usual: str | None) -> str | None:
    """By what it was doing: samples and caches have switches of their own."""
    begin = next((at for at in range(error.at, -1, -1) if lines[at].strip() == _TRACEBACK), error.at)
    frames = "\n".join(lines[begin : error.at])
    if "sample_images" in frames or "sample_image_inference" in frames:
        return "It was drawing samples: make them smaller (--w, --h in prompts.txt) or draw fewer; else: " + str(usual)
    if re.search(r"cache_(?:batch_)?latents|new_cache_latents", frames):
        return "It was caching latents: set vae_batch_size = 1, or lower the resolution."
    return usual


def _place(lines: list[str], end: int) -> str | None:
    """The last `File "…", line N, in f` of the traceback above the error."""
    match = _FRAME.match(_last_frame(lines, end))
    return f"It arose in {printable(match[1])}, line {match[2]}." if match else None


def _last_frame(lines: list[str], end: int) -> str:
    return next((text for text in reversed(lines[:end]) if _FRAME.match(text)), "")
