"""The trainer's output as values: bytes of output.log → lines for people, and → phase, step, loss and rate.

Both readers take chunks that end anywhere, also inside a character or an escape sequence (core/help/trainer.md).
"""

from __future__ import annotations

import codecs
import re
from array import array
from dataclasses import dataclass, replace

from core.text import printable

PHASES = (
    "starting",
    "dataset",
    "model",
    "caching",
    "caching-text",
    "network",
    "training",
    "sampling",
    "validating",
    "saving",
    "done",
)
"""In the order in which a run meets them; training, sampling, validating and saving alternate."""

STEP_BAR = re.compile(
    r"steps:\s+\d+%\|.*?\|\s*(\d+)/(\d+) \[([\d:]+)<([\d:?]+),\s*([\d.?]+)(s/it|it/s)(?:, .*?avr_loss=([\w.+-]+))?"
)
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-OQ-WYZ`-~])"
)
_CURSOR_UP = re.compile(r"\x1b\[(\d*)A$")
_RICH = re.compile(
    r"^(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d| {19}) (?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) +(?P<text>.*)$"
)
_SOURCE = re.compile(r"(?:\s{2,}| )(?P<source>[\w.]+\.py:\d+)\s*$")
_GLUED = re.compile(
    r"^(?P<bar>.*\d%\|.*\])(?P<rest>(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d| {19}) (?:DEBUG|INFO|WARNING|ERROR) .*)$"
)
_BAR = re.compile(r"\d+%\|.*\| *\d+/\d+ \[")
_EPOCH = re.compile(r"^epoch (\d+)/(\d+)\s*$")
_EPOCH_INCREMENTED = re.compile(r"current_epoch: \d+, epoch: (\d+)")
_PROMPT = re.compile(r"INFO +prompt: ")
_CLOCK = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) ")
_PART = re.compile(r"^[^|]{0,60}\d%\|[^|]*\| *(\d+)/(\d+) \[")
_PARTS = frozenset({"dataset", "model", "caching", "caching-text", "sampling", "validating"})
"""Phases whose own bar tells how far they are."""
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Invalid)(?:: .*)?$")
_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, printable. `replace`: it takes the place of the line before (a progress bar went on).

    `level` and `time` are those of the trainer's own log messages; `bar` marks progress bars.
    """

    text: str
    level: str | None = None
    time: str | None = None
    replace: bool = False
    bar: bool = False

    def plain(self) -> str:
        """As one line for `kohya-tui log`."""
        if self.level is None:
            return self.text
        return (
            f"{self.time or '':19} {self.level:7} {self.text}".lstrip() if self.time else f"{self.level:7} {self.text}"
        )


class LogReader:
    """Bytes of a log → lines; a carriage return goes on in the same line, as a terminal would show it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._raw = ""  # text after the last line end or carriage return
        self._shown: str | None = None  # what was given out of the line that is not ended yet
        self._up = 0  # how often the cursor went up (nested bars)
        self._returned = False  # a carriage return came: the next text overwrites
        self._time: str | None = None

    def feed(self, data: bytes, *, final: bool = False) -> list[LogLine]:
        """The lines that `data` adds or changes. A line without its end is given too, and replaced when it goes on."""
        text = self._raw + self._decoder.decode(data, final)
        lines: list[LogLine] = []
        parts = re.split(r"(\r\n|\n|\r)", text)
        for index in range(0, len(parts) - 1, 2):
            end = parts[index + 1]
            if end == "\r" and index + 2 == len(parts) - 1 and parts[-1] == "" and not final:
                # The other half of \r\n may come with the next chunk.
                self._raw = parts[index] + "\r"
                return lines
            self._segment(parts[index], lines)
            if end == "\r":
                self._returned = True
            elif self._up:
                # Below a bar that the cursor went up from: the same place again.
                self._up -= 1
                self._returned = True
            else:
                self._end(lines)
        self._raw = parts[-1]
        if len(self._raw) > _LONGEST_LINE:
            self._segment(self._raw, lines)
            self._end(lines)
            self._raw = ""
        elif self._raw:
            self._tentative(self._raw, lines)
        return lines

    def flush(self) -> list[LogLine]:
        """The end of a log that goes on no more: what was held back."""
        return self.feed(b"", final=True)

    def _segment(self, raw: str, lines: list[LogLine]) -> None:
        ups = _CURSOR_UP.search(raw)
        text = _ESCAPE.sub("", raw)
        if text:
            if self._returned and self._up:
                # Back on the upper line: what stands here stays.
                self._end(lines)
                self._up = 0
            self._put(text, lines)
            self._returned = False
        while ups:
            self._up += int(ups[1] or 1)
            raw = raw[: ups.start()]
            ups = _CURSOR_UP.search(raw)

    def _tentative(self, raw: str, lines: list[LogLine]) -> None:
        """Show the unended line as far as it is known; no state but what was shown is changed."""
        text = _ESCAPE.sub("", raw)
        cut = text.find("\x1b")
        text = text if cut < 0 else text[:cut]
        if text and not (self._returned and self._up):
            self._put(text, lines, tentative=True)

    def _put(self, text: str, lines: list[LogLine], *, tentative: bool = False) -> None:
        glued = _GLUED.match(text)
        if glued and not tentative:
            self._give(glued["bar"], lines)
            self._end(lines)
            text = glued["rest"]
        elif glued:
            text = glued["bar"]
        self._give(text, lines)

    def _give(self, text: str, lines: list[LogLine]) -> None:
        if text == self._shown:
            return
        replaces = self._shown is not None
        self._shown = text
        if lines and replaces and lines[-1].replace:
            lines.pop()  # two changes of the same line in one chunk: only the last can be seen
        line = self._line(text, replaces)
        if lines and replaces:
            line = replace(line, replace=lines.pop().replace)
        lines.append(line)

    def _line(self, text: str, replaces: bool) -> LogLine:
        match = _RICH.match(text)
        if match is None:
            body = text.rstrip()
            source = _SOURCE.search(body) if body.startswith(" " * 29) else None
            if source:
                body = body[: source.start()]
            if body.startswith(" " * 29):
                body = f"  {body[29:]}"  # a message goes on below its first line, in the same column
            return LogLine(printable(body), replace=replaces, bar=_BAR.search(body) is not None)
        message = match["text"]
        source = _SOURCE.search(message)
        if source:
            message = message[: source.start()]
        time = match["time"].strip() or None
        return LogLine(printable(message.rstrip()), match["level"], time, replaces)

    def _end(self, lines: list[LogLine]) -> None:
        if self._shown is None:
            lines.append(LogLine(""))
        self._shown = None
        self._returned = False


@dataclass(frozen=True, slots=True)
class ProgressState:
    """Where the training is, by its log. `rate` is steps a second (tqdm's own average), `avr_loss` has 3 digits."""

    phase: str = PHASES[0]
    step: int | None = None
    total_steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    avr_loss: float | None = None
    rate: float | None = None
    eta_seconds: float | None = None
    last_error: str | None = None
    sample: int = 0
    """While sampling: the picture that is drawn, counted from 1."""
    saved: str | None = None
    """The path in the last `saving checkpoint:` line."""
    part: tuple[int, int] | None = None
    """How far the phase itself is, by its own bar: images that are cached, steps of a sample picture."""
    since: str | None = None
    """The trainer's clock when the phase began (`2026-11-22 10:15:28`, its local time), where it told one."""
    first_epoch: int | None = None
    """The epoch that the training began with: not 1 where it goes on from a state."""
    elapsed: float | None = None
    """Seconds since the first step, by the bar (whole seconds)."""
    batches: int | None = None
    """Batches of one epoch, for each process."""
    gathered: int = 1
    """Batches that make one step (gradient_accumulation_steps)."""

    @property
    def steps_per_epoch(self) -> float | None:
        """By the batches that the trainer counts; the totals tell it only where a config counts epochs."""
        if self.batches:
            return -(-self.batches // self.gathered)
        return self.total_steps / self.epochs if self.total_steps and self.epochs else None


_PHASE_TEXTS = (
    ("generating sample images", "sampling"),
    ("saving checkpoint: ", "saving"),
    ("saving state", "saving"),
    ("saving last state", "saving"),
    ("model saved.", "done"),
    ("Loading settings from", "starting"),
    ("Loading dataset config from", "dataset"),
    ("prepare images.", "dataset"),
    ("found directory", "dataset"),
    ("preparing accelerator", "model"),
    ("load StableDiffusion checkpoint", "model"),
    ("loading model for process", "model"),
    ("caching latents", "caching"),
    ("caching text encoder outputs", "caching-text"),
    ("caching Text Encoder outputs", "caching-text"),
    ("create LoRA network", "network"),
    ("import network module", "network"),
    ("prepare optimizer", "network"),
    ("running training", "training"),
)
_RANK = {phase: index for index, phase in enumerate(PHASES)}


class ProgressReader:
    """Bytes of a log → `state`, and every step's average loss (`steps`, `losses`: two parallel arrays)."""

    def __init__(self) -> None:
        self.state = ProgressState()
        self.steps = array("q")
        self.losses = array("d")
        self.loss_texts: dict[int, str] = {}
        """Only kept when `keep_texts` was set: the bar's own digits, for tests."""
        self.keep_texts = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._clock: str | None = None
        self._step: int | None = None
        self._loss: float | None = None
        self._bar_now: tuple[int, int, str, str, str] | None = None
        """The newest bar, not yet in `state`: of thousands in one chunk only the last one is."""

    def jump(self) -> None:
        """What is fed next does not follow on what was fed before (the middle of a long log is left out)."""
        self._decoder.reset()
        self._rest = ""

    def feed(self, data: bytes) -> ProgressState:
        """Read on; returns the new state."""
        text = self._rest + self._decoder.decode(data)
        parts = re.split(r"[\r\n]+", text)
        self._rest = parts.pop()[-_LONGEST_LINE:]
        for part in parts:
            if part:
                self._segment(part)
        if "steps:" in self._rest and self._rest.rstrip().endswith("]"):
            self._segment(self._rest)  # the newest bar has no end before the next one comes
        self._settle()
        return self.state

    def _segment(self, raw: str) -> None:
        text = _ESCAPE.sub("", raw) if "\x1b" in raw else raw
        match = STEP_BAR.match(text) if text.startswith("steps:") else None
        if match:
            self._bar(match)
            text = text[match.end() :]
        elif text.startswith("steps:"):
            return
        self._message(text)

    def _bar(self, match: re.Match[str]) -> None:
        step = int(match[1])
        if match[7] is not None:
            self._loss = _number(match[7])
            self._record(step, self._loss, match[7])
        phase = self.state.phase
        if step != self._step and phase != "training" and (step or _RANK[phase] < _RANK["training"]):
            self._begin("training")
        self._step = step
        self._bar_now = (step, int(match[2]), match[3], match[5], match[6])

    def _settle(self) -> None:
        """Take the newest bar into the state."""
        if self._bar_now is None:
            return
        step, total, elapsed, speed, unit = self._bar_now
        self._bar_now = None
        rate = _rate(speed, unit)
        self.state = replace(
            self.state,
            step=step,
            total_steps=total,
            avr_loss=self._loss,
            rate=rate,
            eta_seconds=(total - step) / rate if rate else None,
            elapsed=_seconds(elapsed),
        )

    def _record(self, step: int, loss: float, text: str) -> None:
        if self.keep_texts:
            self.loss_texts[step] = text
        if self.steps and self.steps[-1] == step:
            self.losses[-1] = loss  # a step's first bar still shows the loss of the step before
        else:
            self.steps.append(step)
            self.losses.append(loss)

    def _message(self, text: str) -> None:
        if clock := _CLOCK.search(text, 0, 200):
            self._clock = clock[1]
        if self.state.phase in _PARTS and (bar := _PART.match(text)):
            self.state = replace(self.state, part=(int(bar[1]), int(bar[2])))
            if not text.startswith(("validation steps:", "epoch validation steps:")):
                return
        if match := _EPOCH.match(text):
            epoch, first = int(match[1]), self.state.first_epoch
            first = epoch if first is None else first
            self.state = replace(self.state, epoch=epoch, epochs=int(match[2]), first_epoch=first)
            return
        if match := _EPOCH_INCREMENTED.search(text):
            if self.state.epoch is None or int(match[1]) > self.state.epoch:
                self.state = replace(self.state, epoch=int(match[1]))
            return
        if text.startswith(("validation steps:", "epoch validation steps:")):
            self._enter("validating")
            return
        if self.state.phase == "sampling" and _PROMPT.search(text):
            self.state = replace(self.state, sample=self.state.sample + 1, part=None)
            return
        if "Error" in text or "Exception" in text or "Interrupt" in text or "Invalid" in text:
            line = text.strip()
            if _EXCEPTION.match(line) and "CalledProcessError" not in line:
                self.state = replace(self.state, last_error=printable(line))
        for part, phase in _PHASE_TEXTS:
            if part in text:
                self._enter(phase)
                if part == "saving checkpoint: ":
                    path = text.partition(part)[2].strip()
                    self.state = replace(self.state, saved=printable(path))
                elif "num epochs" not in text:
                    return
                break
        if "num epochs / " in text and (found := re.search(r": (\d+)\s*$", text)):
            self.state = replace(self.state, epochs=int(found[1]))
        elif "total optimization steps / " in text and (found := re.search(r": (\d+)\s*$", text)):
            self.state = replace(self.state, total_steps=int(found[1]))
        elif "num batches per epoch / " in text and (found := re.search(r": (\d+)\s*$", text)):
            self.state = replace(self.state, batches=int(found[1]))
        elif "gradient accumulation steps / " in text and (found := re.search(r"= (\d+)\s*$", text)):
            self.state = replace(self.state, gathered=max(1, int(found[1])))

    def _enter(self, phase: str) -> None:
        if phase == self.state.phase or self.state.phase == "done":
            return  # with buffered output old lines come after the end
        # stdout and stderr may come out of order: the preparing phases only go forward.
        early = _RANK[phase] <= _RANK["training"]
        if early and _RANK[phase] < _RANK[self.state.phase]:
            return
        self._begin(phase)

    def _begin(self, phase: str) -> None:
        self.state = replace(self.state, phase=phase, sample=0, part=None, since=self._clock)


def _seconds(text: str) -> float:
    """`01:07` or `1:02:03` of a bar."""
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part or 0)
    return float(seconds)


def _rate(text: str, unit: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if unit == "s/it":
        return 1 / value if value else None
    return value or None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
