"""What a tag run is doing with its time: counters of the pipeline, and which side limits it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

_ENOUGH_SECONDS = 1.0
_ENOUGH_IMAGES = 8
"""Before that much has happened, nothing is said about the limit."""
_BUSY = 0.8
"""Share of the time from which the writing of captions holds everything up."""


@dataclass(slots=True)
class Pace:
    """Filled by `pipeline.tag_images` while it runs, readable at any time; seconds are summed over threads."""

    threads: int = 0
    """Threads that read and decode images."""
    device: str = ""
    """What the model runs on, as people call it: `CUDA`, `CPU`, `2 x CUDA`."""
    lanes: int = 0
    images: int = 0
    """Images done, whatever came of them."""
    known: int = 0
    """Those among them whose scores were stored."""
    read_bytes: int = 0
    decode_seconds: float = 0.0
    model_seconds: float = 0.0
    writing_seconds: float = 0.0
    """Spent by the caller between two groups of results."""
    load_seconds: float | None = None
    """From the start until the models were ready; None before."""
    notes: deque[str] = field(default_factory=deque)
    """What the user should be told, each once: a batch that was halved, a GPU that failed."""
    _started: float | None = None
    _ended: float | None = None

    def begin(self) -> None:
        """The models are loaded: shares are counted from here."""
        self._started = time.perf_counter()
        self.decode_seconds = self.model_seconds = self.writing_seconds = 0.0

    def end(self) -> None:
        """Nothing happens any more."""
        self._ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the models are loaded."""
        return 0.0 if self._started is None else (self._ended or time.perf_counter()) - self._started

    def shares(self) -> tuple[float, float]:
        """Which part of the time the decoding threads and the models were busy, each 0..1."""
        seconds = self.seconds
        if seconds <= 0:
            return 0.0, 0.0
        decode = self.decode_seconds / (seconds * max(1, self.threads))
        model = self.model_seconds / (seconds * max(1, self.lanes))
        return min(1.0, decode), min(1.0, model)

    def limited_by(self) -> str | None:
        """`decoding (8 threads)`, `the model (CUDA)` or `writing`; None while too little has happened."""
        seconds = self.seconds
        if seconds < _ENOUGH_SECONDS or self.images < _ENOUGH_IMAGES:
            return None
        decode, model = self.shares()
        if self.writing_seconds / seconds > max(_BUSY, decode, model):
            return "writing"
        if model >= decode:
            return f"the model ({self.device})"
        return f"decoding ({self.threads} thread{'' if self.threads == 1 else 's'})"

    def take_notes(self) -> list[str]:
        """The notes since the last call."""
        taken = []
        while self.notes:
            taken.append(self.notes.popleft())
        return taken
