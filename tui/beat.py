"""The beat: a thread reads for the header and for the screen in front, and what is new is taken over in one go.

A hop to the screen's thread, with a worker and the frame that follows, costs Textual ten times what the reading does.
So all is read together once a second and drawn in one frame; in between, only what may not wait (a line of a log).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from tui.pulse import Pulse, PulseReader

if TYPE_CHECKING:
    from core.dataset.groups import EditGroup
    from core.runs.model import Run, RunState
    from core.workspace import Workspace
    from tui.app import KohyaApp
    from tui.settings_file import SettingsFile

LOOK = 0.25
"""Seconds between two looks of the screen in front."""
BEAT = 1.0
"""Seconds from one reading of everything to the next."""

Job = Callable[[], None]


class Source(Protocol):
    """What the beat reads for a screen."""

    def read(self, whole: bool) -> Job | None:
        """On the beat's thread: `whole` once a second, else only what may not wait. What to do with it on the screen's
        thread; None when there is nothing new.
        """


class Beat:
    """Started when the app is up; it ends with the app. `flags`: the settings that the app was started with."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self.flags: Mapping[str, Any] = {}
        self._reader = PulseReader()
        self._source: Source | None = None
        self._thread: threading.Thread | None = None
        self._asked = threading.Event()
        self._told: tuple[object, ...] | None = None
        self._settings: SettingsFile | None = None
        self._known: tuple[Workspace | None, dict[str, RunState]] | None = None
        """What each run of the workspace was at the last reading."""
        self._looked: Workspace | None = None
        """The workspace whose journal was looked at before."""
        self._tagged: set[str] = set()
        """Tag runs whose end was told."""

    def start(self) -> None:
        """From now on."""
        if self._thread is None:
            from tui.settings_file import SettingsFile

            self._settings = SettingsFile(self._app, self.flags)
            self._thread = threading.Thread(target=self._go_on, name="beat", daemon=True)
            self._thread.start()

    def follow(self, source: Source) -> None:
        """Read for this screen too, until it leaves."""
        self._source = source
        self.start()
        self.ask()

    def leave(self, source: Source) -> None:
        """The screen is not in front any more."""
        if self._source is source:
            self._source = None

    def ask(self) -> None:
        """Read all that the screen in front wants at once."""
        self._asked.set()

    def tag_ended(self, run: Run) -> None:
        """A tag run wrote its last caption: the screens are told, once, by whoever sees it first."""
        if run.id not in self._tagged:
            self._tagged.add(run.id)
            self._app.dataset_changed.publish(run.spec.dataset or "")

    def look_at_journal(self) -> None:
        """Something was written: what the next undo takes back may be another."""
        self._app.run_worker(self._look_at_journal, thread=True, group="journal", exit_on_error=False)

    def _look_at_journal(self) -> None:
        group = self._app.undoing.look(self._app.workspace)
        if not isinstance(group, bool):
            self._app.call_from_thread(self._app.undoing.take, group)

    # On the beat's thread

    def _go_on(self) -> None:
        due = 0.0
        while self._app.is_running:
            now, asked = time.monotonic(), self._asked.is_set()
            self._asked.clear()
            is_beat = now >= due - LOOK / 2
            due = now + BEAT if is_beat else due
            jobs = self._read(self._source, is_beat=is_beat, is_asked=asked)
            if jobs:
                try:
                    self._app.call_from_thread(self._take, jobs)
                except (RuntimeError, CancelledError):  # the app ended meanwhile
                    return
            self._asked.wait(LOOK if self._source is not None else max(0.0, due - time.monotonic()))

    def _read(self, source: Source | None, *, is_beat: bool, is_asked: bool) -> list[Job]:
        readings: list[Callable[[], Job | None]] = []
        if is_beat and self._settings is not None:
            readings = [self._undo, self._pulse, self._settings.look]
        if source is not None:
            readings.append(partial(source.read, is_beat or is_asked))
        jobs = []
        for read in readings:
            try:
                job = read()
            except Exception as error:  # a bug in one reading: told, and the others go on
                job = partial(self._app.report, error)
            if job is not None:
                jobs.append(job)
        return jobs

    def _undo(self) -> Job | None:
        group = self._app.undoing.look(self._app.workspace)
        return None if isinstance(group, bool) else partial(self._take_undo, group)

    def _pulse(self) -> Job | None:
        pulse = self._reader.read(self._app.workspace)
        runs = self._reader.runs
        facts = (pulse, self._app.workspace, [(run.id, run.state, run.status.warning) for run in runs])
        if facts == self._told:
            return None
        self._told = facts
        return partial(self._take_pulse, pulse, runs)

    # On the screen's thread

    def _take(self, jobs: Sequence[Job]) -> None:
        with self._app.batch_update():
            for job in jobs:
                try:
                    job()
                except Exception as error:  # a bug in one of them is told, and the others are done
                    self._app.report(error)

    def _take_undo(self, group: EditGroup | None) -> None:
        """What the next undo takes back. When it is not of our own making, a command of the shell changed the files."""
        app = self._app
        before, looked = app.undoing.next, self._looked
        self._looked = app.workspace
        app.undoing.take(group)
        if group == before or looked != app.workspace or app.writer.pending:
            return
        is_new = group is not None and (before is None or group.id > before.id)
        changed = group if is_new else before
        # Configs are watched by their screen, and the end of a tag run is told by itself; taken back it is not.
        if changed is not None and changed.kind != "config" and not (is_new and changed.kind == "tag"):
            app.dataset_changed.publish(app.active_dataset or "")

    def _take_pulse(self, pulse: Pulse, runs: list[Run]) -> None:
        app = self._app
        app.telling.look(runs)
        old, app.pulse = app.pulse, pulse
        if pulse != old:
            app.pulse_signal.publish(pulse)
        known, self._known = self._known, (app.workspace, {run.id: run.state for run in runs})
        if known is None or known[0] != app.workspace:
            if pulse.run_id is not None:
                app.runs_changed.publish(pulse.run_id)
        elif known != self._known:
            from core.runs.model import ENDED_STATES

            app.runs_changed.publish(pulse.run_id)
            for run in runs:
                if run.spec.kind == "tag" and run.state in ENDED_STATES and known[1].get(run.id) != run.state:
                    self.tag_ended(run)
