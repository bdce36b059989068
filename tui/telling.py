"""What the app says of runs while it is open: a message on the screen, the terminal's bell, a notice of the desktop.

Messages that reach a user elsewhere come from the run's supervisor (core.runs.notify), whether an app is open or not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from core.text import printable

if TYPE_CHECKING:
    from core.runs.model import Run
    from tui.app import KohyaApp

_TITLE_777 = ("foot", "rxvt")
"""Terminals by TERM that know OSC 777 and not OSC 9."""
_SHORT_SECONDS = 60.0
_OWN_STOPS = ("Stopped on request", "Stopped after", "Taken out of the queue")
"""Reasons of a run that its user ended: no news to them."""
_SECRET = {"webhook": "webhook address", "ntfy_token": "ntfy token"}


@dataclass(frozen=True, slots=True)
class News:
    """One thing that happened to a run: `event` as in the setting `on`."""

    event: str
    title: str
    text: str


def news_of(run: Run, state: str, warning: str | None) -> News | None:
    """What is new since the run was in `state` with `warning`; None when that is nothing to tell."""
    from core.runs.model import ENDED_STATES, RunState

    name, now = printable(run.spec.name), run.state
    reason = printable(run.status.reason or "")
    if now in ENDED_STATES and state not in ENDED_STATES:
        if now is RunState.FINISHED:
            begun, ended = run.status.started, run.status.ended
            if run.spec.kind == "tag" and begun and ended and ended - begun < _SHORT_SECONDS:
                return None  # its own screen says so
            return News("finished", f"{name} is finished", reason)
        if now is RunState.STOPPED and reason.startswith(_OWN_STOPS):
            return None
        ending = {RunState.STOPPED: "was stopped", RunState.FAILED: "failed"}.get(now, f"is {now}")
        return News("failed", f"{name} {ending}", reason)
    if run.status.warning and run.status.warning != warning:
        text = printable(run.status.warning)
        event = "nan" if "NaN" in text else "stalled" if "No progress" in text else "disk"
        return News(event, f"{name} needs a look", text)
    return None


class Telling:
    """Compares what runs are with what they were; the first look says nothing."""

    def __init__(self, app: KohyaApp) -> None:
        self._app = app
        self._known: dict[str, tuple[str, str | None]] | None = None
        self._place: object = None

    def look(self, runs: Iterable[Run]) -> None:
        """On the screen's thread, with all runs of the workspace."""
        now = {run.id: (run, (str(run.state), run.status.warning)) for run in runs}
        if self._known is not None and self._place == self._app.workspace:
            for run_id, (run, facts) in now.items():
                old = self._known.get(run_id, facts)
                if old != facts and (news := news_of(run, *old)) is not None:
                    self._tell(news, self._is_seen(run))
        self._known = {run_id: facts for run_id, (_, facts) in now.items()}
        self._place = self._app.workspace

    def _is_seen(self, run: Run) -> bool:
        """The screen in front says the same, and a message would only cover it."""
        app = self._app
        if app.current_mode == "tag":
            return run.spec.kind == "tag" and run.spec.dataset == app.active_dataset
        return app.current_mode == "monitor" and app.active_run == run.id and len(app.screen_stack) == 1

    def _tell(self, news: News, is_seen: bool) -> None:
        from core.settings import NOTIFY_EVENTS

        table = self._app.settings.notify
        if not is_seen:
            severity = "information" if news.event == "finished" else "warning"
            self._app.notify(f"{news.title}. {news.text}".strip(), severity=severity, timeout=10, markup=False)  # type: ignore[arg-type]
        if news.event in table.get("on", NOTIFY_EVENTS):
            self.ring(news.title, news.text)

    def ring(self, title: str, text: str) -> None:
        """The bell and the desktop's notice, as far as they are wanted."""
        table = self._app.settings.notify
        driver = self._app._driver
        if driver is None:
            return
        if table.get("bell", True):
            driver.write("\a")
        if table.get("desktop", True):
            driver.write(desktop_notice(title, text, os.environ, self._app.graphics.passthrough))
        driver.flush()


def desktop_notice(title: str, text: str, environment: Mapping[str, str], passthrough: bool) -> str:
    """OSC 777 for foot and rxvt, OSC 9 for all others; through tmux only where it lets it pass, else nothing."""
    title, text = (printable(part).replace(";", ",")[:200] for part in (title, text))
    term = environment.get("TERM", "")
    if term.startswith(_TITLE_777):
        notice = f"\x1b]777;notify;{title};{text}\x1b\\"
    else:
        notice = f"\x1b]9;{f'{title}: {text}' if text else title}\x1b\\"
    if not environment.get("TMUX"):
        return notice
    return "\x1bPtmux;" + notice.replace("\x1b", "\x1b\x1b") + "\x1b\\" if passthrough else ""


# Setting it up


def set_up(app: KohyaApp) -> None:
    """The dialog behind the palette: what there is, what is chosen, a test."""
    app.run_worker(_set_up(app), group="telling", exit_on_error=False)


async def _set_up(app: KohyaApp) -> None:
    from core.runs.notify import ways
    from tui.screens.dialogs import Choose

    chosen = "ntfy"
    while True:
        table, out = app.settings.notify, ways(app.settings)
        topic = "".join(out.ntfy) if out.ntfy else "–"
        options = [
            ("ntfy", "ntfy topic", topic),
            ("ntfy_token", "ntfy token", "kept" if out.ntfy_token else "–"),
            ("webhook", "Webhook", "kept" if out.webhook else "– (Discord, Slack, Mattermost or your own)"),
            ("command", "Command", " ".join(out.command) or "–"),
            ("bell", "Terminal bell", "on" if table.get("bell", True) else "off"),
            ("desktop", "Desktop notice of the terminal", "on" if table.get("desktop", True) else "off"),
            ("test", "Send a test", "by every way that is set up"),
        ]
        problems = "\n".join(f"{problem.where}: {problem.message}. {problem.hint or ''}" for problem in out.problems)
        text = problems or "Told when a run finishes, fails, turns to NaN, stalls, or the disk fills up."
        answer = await app.push_screen_wait(Choose("Messages about runs", options, text, chosen))
        if answer is None:
            return
        chosen = answer
        if answer == "test":
            test(app)
        elif answer in ("bell", "desktop"):
            await _save(app, answer, not table.get(answer, True))
        else:
            await _ask(app, answer)


async def _ask(app: KohyaApp, key: str) -> None:
    from tui.screens.dialogs import Ask

    labels = {
        "ntfy": "The topic, or the address of your own server: https://ntfy.example.org/topic. Empty: none.",
        "command": "A program and its words; it gets the message on its standard input. Empty: none.",
    }
    label = labels.get(key, f"The {_SECRET.get(key, key)}; it is kept in a file that only you can read. Empty: none.")
    value = app.settings.notify.get(key, "")
    shown = " ".join(value) if isinstance(value, list) else str(value)
    answer = await app.push_screen_wait(Ask("Messages about runs", label, "" if key in _SECRET else shown))
    if answer is not None:
        await _save(app, key, answer.strip() or None)


async def _save(app: KohyaApp, key: str, value: Any) -> None:
    import asyncio

    from core import settings
    from core.problems import UserError
    from core.runs.notify import save_secret

    save = (
        partial(save_secret, key, value) if key in _SECRET else partial(settings.save_user_table, "notify", key, value)
    )
    try:
        await asyncio.to_thread(save)
    except UserError as error:
        app.report(error)
        return
    app.settings = replace(app.settings, notify=settings.load(None).notify)
    app.settings_changed.publish(app.settings)


def test(app: KohyaApp) -> None:
    """Ring here, and send by every way; what came of it is said."""
    from core.runs import notify

    message = notify.test_message()
    app.telling.ring(message.title, message.text)
    out = notify.ways(app.settings)

    def send() -> None:
        for one in notify.send(message, out):
            severity = "information" if one.ok else "error"
            app.call_from_thread(app.notify, f"{one.way}: {one.detail}", severity=severity, timeout=8, markup=False)

    if out.names:
        app.run_worker(send, thread=True, group="telling-test", exit_on_error=False)
    else:
        app.notify("The terminal rang; no other way is set up.", markup=False)
