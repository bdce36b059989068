"""Image files in, scores out: threads decode ahead while one thread per device runs the models.

Memory stays bounded: a decoding thread takes a free slot before it opens a file, a slot is free again when the model is
done with its picture, and what is decoded at once has to fit into `DECODE_BYTES`. Results come in the order of the
paths; a file that cannot be read gives its reason and stops nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from core.problems import UserError
from core.tagging.pace import Pace
from core.tagging.reading import MemoryGate, ModelInput, Picture, Rows, Stopped, read_picture
from core.tagging.session import Staged, TaggerSession

Lane = Sequence[TaggerSession]
"""All models of a pass, loaded on one device; `run` of each is called from one thread."""
_WINDOW = 512
"""Pictures between the oldest without a result and the newest opened: their rows wait in memory (40 kB each)."""
_GROUP = 64
"""Most results given at once."""
_PATIENCE = 0.05
"""Seconds that finished results wait for a full batch of them, and between two looks at `should_stop`."""
_FAREWELL = 0.3
"""Seconds that a stopped pass waits for its threads; one that sits in a 100-megapixel picture ends on its own."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """One image. `scores` (float32 probabilities, a row per model, one value per label) is None when `error` says why
    there are none.
    """

    path: Path
    scores: Rows | None
    size: tuple[int, int] | None
    error: str | None = None
    is_turned: bool = False
    """Its EXIF data asks viewers to rotate or mirror it; neither the model nor the trainer does."""
    content: str = ""
    """`scores.content_of` the file; "" when it could not be read."""
    is_known: bool = False
    """The scores are those of `lookup`; the model was not asked."""


def tag_images(
    paths: Sequence[Path],
    lanes: Sequence[Lane] | Callable[[], Sequence[Lane]],
    *,
    batch: int | None = None,
    threads: int = 2,
    clip_16_bit: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    inputs: Sequence[ModelInput] | None = None,
    lookup: Callable[[str], Rows | None] | None = None,
    pace: Pace | None = None,
) -> Generator[list[Tagged], None, None]:
    """Lists of results in the order of `paths`.

    `lanes` has one lane per device, all with the same models in the same order; they share the images. As a function it
    is called on a thread of its own, and decoding begins while it loads the models (with `inputs`, what the models want
    is known before: session.expected_input). `batch` of None is each lane's own (TaggerSession.best_batch).
    `lookup(content)` gives scores that are stored (one row per model); it is called from the decoding threads, one at a
    time. After `should_stop` the batch in the model is broken off, and what is finished is still given.

    Raises UserError when a model fails, after everything finished has been given.
    """
    work = _Pass(paths, batch, max(1, threads), clip_16_bit, inputs, lookup, pace or Pace())
    try:
        work.start(lanes)
        while True:
            group = work.take(should_stop)
            if not group:
                break
            paused = time.perf_counter()
            yield group
            work.pace.writing_seconds += time.perf_counter() - paused
        if work.failure is not None:
            raise work.failure
    finally:
        work.stop()


class _Pass:
    """The state that the threads of one pass share. Everything mutable is guarded by `_lock`."""

    def __init__(
        self,
        paths: Sequence[Path],
        batch: int | None,
        threads: int,
        clip_16_bit: bool,
        inputs: Sequence[ModelInput] | None,
        lookup: Callable[[str], Rows | None] | None,
        pace: Pace,
    ) -> None:
        self.pace = pace
        self.failure: BaseException | None = None
        self._paths, self._batch, self._clip = paths, batch, clip_16_bit
        self._inputs: Sequence[ModelInput] | None = inputs
        self._gate = MemoryGate()
        self._lookup, self._asking = lookup, threading.Lock()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        """Decoding threads wait here: for a slot, for the window, for what the models want."""
        self._fed = threading.Condition(self._lock)
        """Lanes wait here for pictures."""
        self._told = threading.Condition(self._lock)
        """The caller waits here for results."""
        self._next = self._given = 0
        self._slots = threads
        self._held = 0
        self._decoding = 0
        self._ready: deque[tuple[int, Picture]] = deque()
        self._results: dict[int, Tagged] = {}
        self._is_stopped = False
        self._lanes: Sequence[Lane] = ()
        self._alive: list[Lane] = []
        self._threads = [
            threading.Thread(target=self._decode, name=f"decode-{number}", daemon=True) for number in range(threads)
        ]
        pace.threads = threads

    def start(self, lanes: Sequence[Lane] | Callable[[], Sequence[Lane]]) -> None:
        for thread in tuple(self._threads):
            thread.start()
        if callable(lanes):
            threading.Thread(target=self._load, args=(lanes,), name="load", daemon=True).start()
        else:
            self._open(lanes)

    def _load(self, load: Callable[[], Sequence[Lane]]) -> None:
        begun = time.perf_counter()
        try:
            lanes = load()
            self.pace.load_seconds = time.perf_counter() - begun
            self._open(lanes)
        except BaseException as error:  # of a thread that nobody joins: `tag_images` raises it
            self._fail(error)

    def _open(self, lanes: Sequence[Lane]) -> None:
        """Let the lanes begin."""
        inputs = [session.input for session in lanes[0]]
        for lane in lanes:
            for session in lane:
                session.resume()
        with self._lock:
            if self._is_stopped:
                return
            if self._inputs is not None and list(self._inputs) != inputs:
                raise AssertionError(f"the models want {inputs}, but {self._inputs} was announced")
            self._inputs = inputs
            self._lanes, self._alive = lanes, list(lanes)
            # A process may take twice its models' files; weights that lie on a GPU leave their share to the pictures.
            self._gate.widen(sum(session.model.bytes or 0 for session in lanes[0] if session.is_gpu))
            # One batch in the model, one waiting for it, one being filled.
            self._slots += 3 * sum(self._batch_of(lane) for lane in lanes)
            self.pace.lanes = len(lanes)
            self.pace.device = _named(lanes)
            self.pace.begin()
            self._room.notify_all()
        for number, lane in enumerate(lanes):
            thread = threading.Thread(target=self._serve, args=(lane,), name=f"lane-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _batch_of(self, lane: Lane) -> int:
        """Images that the lane takes at once; less when one of its models ran out of memory."""
        best = min((session.best_batch for session in lane), default=1)
        fixed = max((session.fixed_batch or 0 for session in lane), default=0)
        limits = [session.batch_limit for session in lane if session.batch_limit is not None]
        return max(1, min([fixed or self._batch or best, *limits]))

    def take(self, should_stop: Callable[[], bool]) -> list[Tagged]:
        """The next results; [] when there are none any more. After `should_stop` those that are finished."""
        least = min(_GROUP, self._batch or max((self._batch_of(lane) for lane in self._lanes), default=1))
        waited_since: float | None = None
        is_asked = should_stop()
        with self._lock:
            if is_asked:
                self._halt()
            while True:
                count = 0
                while count < _GROUP and self._given + count in self._results:
                    count += 1
                is_over = self._given + count == len(self._paths)
                if count and waited_since is None:
                    waited_since = time.perf_counter()
                is_patient = waited_since is None or time.perf_counter() - waited_since < _PATIENCE
                if count and (count >= least or is_over or not is_patient or self.failure is not None):
                    group = [self._results.pop(self._given + number) for number in range(count)]
                    self._given += count
                    self._room.notify_all()
                    return group
                if is_over or self.failure is not None or self._is_stopped:
                    break
                if should_stop():
                    self._halt()
                    break
                self._told.wait(_PATIENCE)
            # Stopped: later pictures may be finished while an earlier one is not.
            return [self._results.pop(number) for number in sorted(self._results)]

    def stop(self) -> None:
        """End the threads; waits for them a moment."""
        with self._lock:
            self._halt()
        until = time.monotonic() + _FAREWELL
        for thread in self._threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        self.pace.end()

    def _halt(self) -> None:
        """Under the lock: no thread begins anything new, and what runs in a model is broken off."""
        self._is_stopped = True
        for lane in self._lanes:
            for session in lane:
                session.terminate()
        for condition in (self._room, self._fed, self._told):
            condition.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self.failure is None and not self._is_stopped:
                self.failure = error
            self._halt()

    # Decoding threads.

    def _decode(self) -> None:
        lookup = None if self._lookup is None else self._known
        done: tuple[int, Picture, float] | None = None
        with contextlib.suppress(Stopped):
            while (index := self._advance(done)) is not None:
                begun, path = time.perf_counter(), self._paths[index]
                picture = read_picture(path, self._wanted, self._gate, clip_16_bit=self._clip, lookup=lookup)
                done = index, picture, time.perf_counter() - begun

    def _advance(self, done: tuple[int, Picture, float] | None) -> int | None:
        """Hand in what was read and take the next, once there is room for it; None when there is none.

        Both under one lock: in between, a lane would see no thread at work, and run less than a full batch.
        """
        is_busy = done is not None
        with self._lock:
            if done is not None:
                self._accept(*done)
            while not self._is_stopped and self._next < len(self._paths):
                if self._held < self._slots and self._next < self._given + max(_WINDOW, 2 * self._slots):
                    self._held += 1
                    self._decoding += not is_busy
                    self._next += 1
                    return self._next - 1
                if is_busy:
                    is_busy = False
                    self._decoding -= 1
                    self._fed.notify_all()
                self._room.wait()
            self._decoding -= is_busy
            self._fed.notify_all()
            return None

    def _accept(self, index: int, picture: Picture, seconds: float) -> None:
        self.pace.decode_seconds += seconds
        self.pace.read_bytes += picture.bytes
        if picture.pixels is not None:
            self._ready.append((index, picture))
            self._fed.notify()
            return
        self.pace.known += picture.rows is not None
        self._conclude([(index, picture)], [picture.rows])

    def _known(self, content: str) -> Rows | None:
        with self._asking:
            return self._lookup(content) if self._lookup is not None else None

    def _wanted(self) -> Sequence[ModelInput]:
        """What the models want; waits while they load."""
        with self._lock:
            while self._inputs is None:
                if self._is_stopped:
                    raise Stopped
                self._room.wait()
            return self._inputs

    def _conclude(self, group: Sequence[tuple[int, Picture]], scores: Sequence[Rows | None]) -> None:
        """Under the lock: the results of some pictures, whose slots are free again."""
        for (index, picture), rows in zip(group, scores, strict=True):
            self._results[index] = Tagged(
                path=picture.path,
                scores=rows,
                size=picture.size,
                error=picture.error,
                is_turned=picture.is_turned,
                content=picture.content,
                is_known=picture.rows is not None,
            )
        self.pace.images += len(group)
        self._held -= len(group)
        self._room.notify(len(group))
        self._told.notify()
        if not self._held:
            self._fed.notify_all()

    # Lanes.

    def _serve(self, lane: Lane) -> None:
        """Feed one device: the next batch is laid ready while the last one runs."""
        running: Future[bool] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="model") as device:
            while group := self._collect(lane):
                try:
                    rows = self._batch_of(lane)
                    staged = [
                        session.stage([picture.pixels[place] for _, picture in group if picture.pixels], rows)
                        for place, session in enumerate(lane)
                    ]
                except Exception as error:  # a device that fails costs the pass itself only when it was the last
                    self._lose(lane, group, error)
                    return
                if running is not None and not running.result():
                    self._give_back(group)
                    return
                running = device.submit(self._run, lane, group, staged)

    def _collect(self, lane: Lane) -> list[tuple[int, Picture]]:
        """The next batch for a lane; [] when there will be none."""
        with self._lock:
            while not self._is_stopped:
                wanted = self._batch_of(lane)
                if len(self._ready) >= wanted or (self._ready and not self._decoding):
                    return [self._ready.popleft() for _ in range(min(wanted, len(self._ready)))]
                if self._next >= len(self._paths) and not self._held:
                    return []
                self._fed.wait()
            return []

    def _run(self, lane: Lane, group: list[tuple[int, Picture]], staged: list[Staged]) -> bool:
        """Whether the device goes on."""
        if self._is_stopped:
            return False
        begun = time.perf_counter()
        try:
            scores = [session.finish(batch) for session, batch in zip(lane, staged, strict=True)]
        except Exception as error:  # as in `_serve`
            self._lose(lane, group, error)
            return False
        seconds = time.perf_counter() - begun
        with self._lock:
            self.pace.model_seconds += seconds
            for session in lane:
                self.pace.notes.extend(session.take_notes())
            self._conclude(group, [tuple(rows) for rows in zip(*scores, strict=True)])
        return True

    def _give_back(self, group: list[tuple[int, Picture]]) -> None:
        """Another device does these."""
        with self._lock:
            self._ready.extendleft(reversed(group))
            self._fed.notify_all()

    def _lose(self, lane: Lane, group: list[tuple[int, Picture]], error: Exception) -> None:
        """A lane failed: the others go on with its pictures; without another, the pass ends."""
        self._give_back(group)
        with self._lock:
            if self._is_stopped:
                return
            was_alive = len(self._alive)
            self._alive = [each for each in self._alive if each is not lane]
            if self._alive and isinstance(error, UserError):
                if len(self._alive) < was_alive:  # it may fail twice: with one batch running and one laid ready
                    self.pace.notes.append(f"{error.line} The other GPUs go on.")
                    self.pace.lanes = len(self._alive)
                return
        self._fail(error)


def _named(lanes: Sequence[Lane]) -> str:
    name = next((session.device_name for lane in lanes for session in lane), "")
    return name if len(lanes) == 1 else f"{len(lanes)} x {name}"
