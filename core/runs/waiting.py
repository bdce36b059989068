"""The wait of a queued run's supervisor for its turn and its GPU. As small as the supervisor itself.

The order and the GPUs' locks are files (core.runs.order) that everybody reads for himself; nobody hands out turns. Who
is first among those that may start takes a free GPU. What needs large libraries (NVML, the config's files) is done by
children that end at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from core.runs import order, proc

_ENDED = ("finished", "failed", "stopped", "lost")
_LOOK_SECONDS = (5.0, 10.0, 20.0, 60.0)
"""Between two looks at a GPU that others use: a look costs 0.1 s of CPU."""
_CHILD_SECONDS = 60.0


def wait_for_turn(
    run_dir: str,
    spec: dict[str, Any],
    watched: set[signal.Signals],
    write: Callable[..., None],
    request: Callable[[], str | None],
) -> tuple[dict[str, Any], dict[str, str], list[int]] | None:
    """The frozen spec, what the GPU adds to the environment, and the locks to hold; None when there is no start.

    `write` changes state.json, `request` tells what a client asked for since the last look.
    """
    write(state="queued", supervisor_pid=os.getpid(), boot_id=proc.boot_id(), waits_for=None)
    wait = _Wait(
        run_dir,
        spec,
        watched,
        lambda note: write(fsync=False, waits_for=note),
        lambda: request() == "stop-now",
    )
    end = wait.turn()
    if end is None and spec.get("recipe") is not None and (problem := freeze(run_dir)) is not None:
        end = "failed", problem
    frozen = proc.read_json(f"{run_dir}/spec.json")
    if end is None and frozen is not None:
        write(gpu=wait.gpu(), waits_for=None)
        return frozen, wait.environment(), list(wait.held.values())
    state, reason = end or ("failed", "Its spec.json cannot be read.")
    if state:
        write(state=state, reason=reason, ended=time.time(), waits_for=None)
    return None


class _Wait:
    """`turn` comes back when the run may start, was cancelled, or its supervisor is to leave.

    `tell(note)` is called when what it waits for is another, `cancelled()` asks for a request to stop.
    """

    def __init__(
        self,
        run_dir: str,
        spec: dict[str, Any],
        watched: set[signal.Signals],
        tell: Callable[[str | None], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self.dir, self.spec, self.wish = run_dir, spec, dict(spec["wait"])
        self.folder = str(self.wish["dir"])
        self.watched, self.tell, self.cancelled = watched, tell, cancelled
        self.held: dict[str, int] = {}
        """The slots that are taken, with their descriptors."""
        self.gpus: dict[str, Any] | None = None
        self.looked = 0.0
        self.looks = 0
        self.order: list[order.Entry] = []
        self.order_seen: object = ()
        self.ended: dict[str, bool] = {}
        """Runs to come after that are over → whether they finished."""

    def turn(self) -> tuple[str, str | None] | None:
        """None when `held` holds the GPUs; else the state in which it ends, with the reason ("" = just leave)."""
        note: object = ()
        while True:
            if not os.path.exists(f"{self.dir}/spec.json"):  # noqa: PTH110
                return "", None
            if self.cancelled():
                self.leave_order()
                return "stopped", "Taken out of the queue before it started."
            try:
                verdict = self._look(self._entries())
            except OSError as error:  # a quota, a network home that is away: it waits on, and says why
                verdict = f"The queue cannot be read: {error.strerror or error}."
            if verdict is None:
                verdict = self._start()
            if verdict is None:
                return None
            if isinstance(verdict, tuple):
                self.leave_order()
                return verdict
            if verdict != note:
                note = verdict
                self.tell(verdict or None)
            info = signal.sigtimedwait(self.watched, 1.0)
            if info is not None and info.si_signo != signal.SIGCHLD:
                return "", None  # a machine that goes down: it stays in the queue

    def leave_order(self) -> None:
        """No longer in the queue."""
        with contextlib.suppress(OSError), order.changing(self.folder) as entries:
            entries[:] = [entry for entry in entries if entry["dir"] != self.dir]

    # What stands in the way

    def _entries(self) -> list[order.Entry]:
        seen = order.seen(self.folder)
        if seen != self.order_seen:
            self.order, self.order_seen = order.read(self.folder), seen
        if order.find(self.order, self.dir) is None:
            # The file was deleted: everybody who waits comes back, the oldest ones first.
            with contextlib.suppress(OSError), order.changing(self.folder) as entries:
                join(entries, self.dir, self.spec)
            self.order, self.order_seen = order.read(self.folder), order.seen(self.folder)
        return self.order

    def _look(self, entries: list[order.Entry]) -> str | tuple[str, str | None] | None:
        """None when the run may start now; a sentence ("" = its entry says it all) when not yet; else how it ends."""
        mine = order.find(entries, self.dir)
        if mine is None:
            return "The queue cannot be read or written: see the user's state folder."
        if mine.get("held"):
            return ""
        goes = self._goes(mine)
        if goes is False:
            name = os.path.basename(str(mine.get("after")))  # noqa: PTH119
            return "stopped", f"Not started: {name}, after which it should come, did not finish."
        if goes is None:
            return ""
        return self._room(mine, entries)

    def _goes(self, entry: order.Entry) -> bool | None:
        """Whether its time has come and the run before it is over; None = not yet, False = never."""
        if entry.get("held") or (entry.get("at") or 0) > time.time():
            return None
        after = entry.get("after")
        if not after:
            return True
        if after not in self.ended:
            state = (proc.read_json(f"{after}/state.json") or {}).get("state")
            spec = proc.read_json(f"{after}/spec.json")
            locks = (spec or {}).get("locks") or after
            if spec is not None and state not in _ENDED:
                nobody = not proc.is_locked(f"{locks}/alive.lock") and not proc.is_locked(f"{locks}/supervisor.lock")
                if state not in ("running", "stopping") or not nobody:
                    return None
                state = in_child(lambda: _state_of(after))  # its supervisor was killed: by its log
            self.ended[after] = state == "finished"
        return self.ended[after] or not entry.get("only_if_finished")

    def _room(self, mine: order.Entry, entries: list[order.Entry]) -> str | None:
        """None when there are GPUs for it that nobody before it takes."""
        if self.gpus is None:
            self._look_at_gpus()
        slots = self._slots()
        if not slots:
            message = (self.gpus or {}).get("message") or "No GPU can be seen."
            self._look_again()
            return f"{message}"
        free = self._free(mine)
        before = entries[: entries.index(mine)]
        for other in before:
            if other.get("held") or not order.is_attended(other) or not self._goes(other):
                continue
            for slot in self._fitting(other, free, reserve=True):
                free.remove(slot)
        if not self._fitting(mine, free, others=True):
            return self._who(mine, slots)
        if self._fitting(mine, free):
            if time.monotonic() - self.looked >= 2:
                self._look_at_gpus()
            if self._fitting(mine, free):
                self.looks = 0
                return None
        self._look_again()
        return self._busy(mine, free)

    def _fitting(
        self, entry: order.Entry, free: list[str], *, others: bool = False, reserve: bool = False
    ) -> list[str]:
        """What an entry would take of the free slots; with `others` also what strangers use.

        With `reserve` also too few of them, which wait for the rest: runs that need less would pass it for ever.
        """
        names = {str(index): slot for index, slot, _ in (self.gpus or {}).get("gpus", ())}
        busy = {slot for _, slot, used in (self.gpus or {}).get("gpus", ()) if used}
        usable = [slot for slot in free if others or entry.get("share") or slot not in busy]
        count, named = order.wish_of(entry)
        wanted = [names.get(word, word) for word in named] if named else usable[:count]
        found = [slot for slot in wanted if slot in usable]
        return found if reserve or (len(found) == len(wanted) and len(found) >= count) else []

    def _free(self, mine: order.Entry) -> list[str]:
        """What no run of ours holds; for a run that starts at once all of it, the free ones first."""
        slots = self._slots()
        if not mine.get("now"):
            return [slot for slot in slots if order.is_free(self.folder, slot)]
        return sorted(slots, key=lambda slot: not order.is_free(self.folder, slot))

    def _slots(self) -> list[str]:
        found = self.gpus or {}
        slots = [slot for _, slot, _ in found.get("gpus", ())]
        if slots or self.wish.get("has_gpu") or found.get("stale"):
            return slots
        return [order.CPU]

    def _who(self, mine: order.Entry, slots: list[str]) -> str:
        """Who has what it needs: only where that is not simply the one before it in the queue."""
        _, named = order.wish_of(mine)
        names = {str(index): slot for index, slot, _ in (self.gpus or {}).get("gpus", ())}
        wanted = [names.get(word, word) for word in named] or slots
        holders = [name for slot in wanted for name in order.holders(self.folder, slot)]
        if not holders:
            return ""
        spec = proc.read_json(f"{holders[0]}/spec.json") or {}
        return f"{spec.get('name') or os.path.basename(holders[0])} is under way."  # noqa: PTH119

    def _busy(self, mine: order.Entry, free: list[str]) -> str:
        _, named = order.wish_of(mine)
        for index, slot, used in (self.gpus or {}).get("gpus", ()):
            if used and slot in free and (not named or str(index) in named or slot in named):
                return f"GPU {index} is {used}."
        return ""

    def _look_again(self) -> None:
        """Rarely: the more often it was in vain, the later."""
        pause = _LOOK_SECONDS[min(self.looks, len(_LOOK_SECONDS) - 1)]
        if time.monotonic() - self.looked >= pause:
            self.looks += 1
            self._look_at_gpus()

    def _look_at_gpus(self) -> None:
        self.gpus = in_child(_gpus) or {"gpus": [], "message": "The GPUs could not be read.", "stale": True}
        self.looked = time.monotonic()

    # The start

    def _start(self) -> str | tuple[str, str | None] | None:
        """Under the queue's lock: look once more, take the GPUs, leave the queue. None when all of it was done."""
        try:
            with order.changing(self.folder) as entries:
                verdict = self._look(entries)
                if verdict is not None:
                    return verdict
                mine = order.find(entries, self.dir)
                assert mine is not None
                for slot in self._fitting(mine, self._free(mine)):
                    lock = order.take(self.folder, slot, self.dir, alone=not mine.get("now"))
                    if lock is None:
                        self.let_go()
                        return ""
                    self.held[slot] = lock
                if not self.held:
                    return ""
                entries.remove(mine)
        except OSError as error:
            self.let_go()
            return f"The queue cannot be written: {error.strerror or error}."
        return None

    def let_go(self) -> None:
        """Give the GPUs back."""
        for lock in self.held.values():
            os.close(lock)
        self.held = {}

    def gpu(self) -> str | None:
        """The indices of what was taken: `0`, `0,1`; None on the CPU."""
        found = [str(index) for index, slot, _ in (self.gpus or {}).get("gpus", ()) if slot in self.held]
        return ",".join(found) or None

    def environment(self) -> dict[str, str]:
        """What makes the trainer use the GPUs that were taken, and no others. Nothing where there is but one."""
        there = (self.gpus or {}).get("count", 0)
        slots = [slot.removeprefix("index-") for slot in self.held if slot != order.CPU]
        if not slots or (there == 1 and "CUDA_VISIBLE_DEVICES" not in os.environ):
            return {}
        if (self.spec.get("tag") or {}).get("devices"):
            return {}  # it was told the numbers itself, and they count among all GPUs
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(slots)}


def join(entries: list[order.Entry], run_dir: str, spec: dict[str, Any]) -> order.Entry:
    """The entry of a run, made at the end when it has none. Those that come back after a loss stand by their age."""
    found = order.find(entries, run_dir)
    if found is not None:
        return found
    wish = {key: value for key, value in spec["wait"].items() if key not in ("dir", "has_gpu")}
    entry = {"dir": run_dir, "locks": spec.get("locks"), **wish}
    place = len(entries)
    while place and (entries[place - 1].get("added") or 0) > (entry.get("added") or 0):
        place -= 1
    entries.insert(place, entry)
    return entry


def freeze(run_dir: str) -> str | None:
    """Copy the inputs as they are now into the run's folder, by a child of today's program. A sentence when it fails.

    A child with a fresh interpreter: the program may have been replaced on disk in the hours of waiting.
    """
    reader, writer = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "core.runs.freeze", run_dir],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)],
        setsigmask=[],
    )
    os.close(writer)
    told = _read_all(reader, _CHILD_SECONDS)
    if told is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if told is None:
        return "Its config could not be read within a minute."
    if os.waitstatus_to_exitcode(status) == 0:
        return None
    return told.decode("utf-8", "replace").strip() or "Its config could not be read: see supervisor.log."


def in_child(work: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `work` gives (JSON), done in a fork: what it imports goes with it, and a hung driver holds only that child.

    None when it fails or takes longer.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writer, 3)
            os.closerange(4, 256)  # the locks: a child that hangs must not hold them
            data = json.dumps(work()).encode()
            while data:
                data = data[os.write(3, data) :]
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    told = _read_all(reader, seconds)
    if told is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, os.WNOHANG)  # one that hangs inside the driver is reaped when it ends
        return None
    os.waitpid(pid, 0)
    try:
        return json.loads(told) if told else None
    except ValueError:  # it was killed in the middle of its answer
        return None


def _read_all(reader: int, seconds: float) -> bytes | None:
    """Until the other end is closed; None when that takes longer."""
    data, deadline = b"", time.monotonic() + seconds
    try:
        while True:
            ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            part = os.read(reader, 65536)
            if not part:
                return data
            data += part
    finally:
        os.close(reader)


def _gpus() -> dict[str, object]:
    from core.runs.slots import look

    return look()


def _state_of(run_dir: str) -> str:
    from pathlib import Path

    from core.runs.store import observe

    return str(observe(Path(run_dir)).state)
