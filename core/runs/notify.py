"""Telling the user: what is said about a run, and by which ways it goes out (a command, ntfy, a webhook).

What can be seen by others holds no secret: the token and the webhook's address come from `secrets.toml` beside the
settings (mode 0600) or from the environment, and go out in HTTP requests only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.problems import Problem, Severity, UserError
from core.settings import NOTIFY_EVENTS, Settings, config_dir
from core.text import human_seconds, printable

SECRETS = ("ntfy_token", "webhook")
NTFY_SERVER = "https://ntfy.sh"
TRIES = 3
TIMEOUT = 10.0
"""Seconds for one try of one way."""
COMMAND_SECONDS = 30.0
MAX_TEXT = 1500
"""Discord takes 2,000 characters, ntfy 4,096 bytes."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell. `event` is one of NOTIFY_EVENTS or `test`; everything is printable text."""

    event: str
    title: str
    text: str
    run: str | None = None
    name: str | None = None
    workspace: str | None = None
    urgent: bool = False

    def as_json(self) -> dict[str, Any]:
        """What the command gets on its standard input, and a webhook of one's own in its request."""
        facts = ("event", "title", "run", "name", "workspace")
        return {"v": 1, **{name: getattr(self, name) for name in facts}, "message": self.text, "host": host_name()}


@dataclass(frozen=True, slots=True)
class Ways:
    """What the user has chosen. `ntfy` is the server's address and the topic."""

    on: frozenset[str]
    command: tuple[str, ...] = ()
    ntfy: tuple[str, str] | None = None
    ntfy_token: str | None = None
    webhook: str | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are set up."""
        chosen = {"command": self.command, "ntfy": self.ntfy, "webhook": self.webhook}
        return tuple(name for name, value in chosen.items() if value)


@dataclass(frozen=True, slots=True)
class Sent:
    """How one way went. `detail` holds no secret."""

    way: str
    ok: bool
    detail: str
    seconds: float


def secrets_file() -> Path:
    """`secrets.toml` beside the user's settings; read only when nobody else can read it."""
    return config_dir() / "secrets.toml"


def ways(settings: Settings, environment: Mapping[str, str] | None = None) -> Ways:
    """The ways out that are set up. What is wrong with them is in `problems`, never raised."""
    environment = os.environ if environment is None else environment
    table = settings.notify
    secrets, problems = _secrets()
    for name in SECRETS:
        if value := environment.get(f"KOHYA_TUI_{name.upper()}"):
            secrets[name] = value
    on = table.get("on", NOTIFY_EVENTS)
    command = table.get("command", ())
    try:
        words = tuple(shlex.split(command)) if isinstance(command, str) else tuple(command)
    except ValueError as error:  # a quote that is not closed
        words = ()
        problems.append(Problem(Severity.WARNING, "KT520", "notify", f"the command cannot be read: {error}"))
    topic = None
    if address := table.get("ntfy"):
        topic = _topic(str(address))
        if topic is None:
            problems.append(
                Problem(Severity.WARNING, "KT520", "notify", "ntfy is no topic", "Like https://ntfy.sh/my-topic")
            )
    webhook = secrets.get("webhook")
    if webhook is not None and not webhook.startswith(("https://", "http://")):
        webhook = None
        problems.append(Problem(Severity.WARNING, "KT520", "notify", "the webhook is no http address"))
    return Ways(frozenset(on), words, topic, secrets.get("ntfy_token"), webhook, tuple(problems))


def _topic(address: str) -> tuple[str, str] | None:
    """(server, topic) of `https://server/topic`, or of a bare topic on ntfy.sh."""
    if "://" not in address:
        address = f"{NTFY_SERVER}/{address}"
    parts = urllib.parse.urlsplit(address)
    base, _, topic = parts.path.rstrip("/").rpartition("/")
    if parts.scheme not in ("http", "https") or not parts.netloc or not topic:
        return None
    return f"{parts.scheme}://{parts.netloc}{base}/", topic


def _secrets() -> tuple[dict[str, str], list[Problem]]:
    path = secrets_file()
    try:
        with path.open("rb") as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                what = "can be read by others: it is not used"
                return {}, [Problem(Severity.ERROR, "KT521", str(path), what, f"chmod 600 {shlex.quote(str(path))}")]
            table = tomllib.load(stream)
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError) as error:
        return {}, [Problem(Severity.WARNING, "KT521", str(path), f"is not used: {error}")]
    return {name: table[name] for name in SECRETS if isinstance(table.get(name), str) and table[name]}, []


def save_secret(name: str, value: str | None) -> None:
    """Keep a secret (None: forget it) in the 0600 file. Raises UserError."""
    assert name in SECRETS, name
    import tomlkit

    from core.files import write_atomic, write_error

    path = secrets_file()
    known, problems = _secrets()
    if problems and problems[0].severity is not Severity.ERROR:
        raise UserError(f"{path} {problems[0].message}", "Correct it or move it away, then try again.")
    if value is None:
        known.pop(name, None)
    else:
        known[name] = value
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        path.chmod(0o600)  # write_atomic keeps it
    except OSError as error:
        raise write_error(path, error) from error
    write_atomic(path, tomlkit.dumps(known))


def send(message: Message, out: Ways, *, pause: Callable[[float], None] = time.sleep) -> list[Sent]:
    """Send by every way that is set up, one after another: at most about a minute. Nothing is raised."""
    calls: dict[str, Callable[[], str]] = {}
    if out.command:
        calls["command"] = lambda: _run_command(out.command, message)
    if out.ntfy is not None:
        calls["ntfy"] = lambda: _post(*_ntfy(message, out), pause=pause)
    if out.webhook is not None:
        calls["webhook"] = lambda: _post(*_webhook(message, str(out.webhook)), pause=pause)
    found = []
    for way, call in calls.items():
        begun = time.monotonic()
        try:
            ok, detail = True, call()
        except (OSError, ValueError, http.client.HTTPException, UserError) as error:
            ok, detail = False, _reason(error)
        found.append(Sent(way, ok, printable(_hidden(detail, out)), time.monotonic() - begun))
    return found


def _hidden(text: str, out: Ways) -> str:
    """An error's text may repeat the address that it failed on."""
    for secret in (out.webhook, out.ntfy_token):
        if secret:
            text = text.replace(secret, "…")
    return text


def _ntfy(message: Message, out: Ways) -> tuple[str, dict[str, Any], dict[str, str]]:
    """ntfy's "publish as JSON": titles of any script, which a header could not carry."""
    assert out.ntfy is not None
    server, topic = out.ntfy
    tags = {"finished": "white_check_mark", "failed": "x", "test": "wave"}
    body = {
        "topic": topic,
        "title": message.title,
        "message": message.text,
        "priority": 4 if message.urgent else 3,
        "tags": [tags.get(message.event, "warning")],
    }
    return server, body, {"Authorization": f"Bearer {out.ntfy_token}"} if out.ntfy_token else {}


def _webhook(message: Message, address: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Discord reads `content`, Slack and Mattermost `text`; the two are strict about what else they get."""
    host = urllib.parse.urlsplit(address).hostname or ""
    text = f"{message.title}\n{message.text}"
    if host.endswith(("discord.com", "discordapp.com")):
        return address, {"content": text, "allowed_mentions": {"parse": []}}, {}
    if host.endswith("slack.com"):
        return address, {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}, {}
    return address, {"content": text, "text": text, **message.as_json()}, {}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere would become a GET, and the token would go to another host."""

    def redirect_request(self, *_arguments: Any, **_keywords: Any) -> None:
        return None


def _post(address: str, body: Mapping[str, Any], headers: Mapping[str, str], *, pause: Callable[[float], None]) -> str:
    """POST as JSON; tried again when the server is busy or away. Raises OSError, ValueError, HTTPException."""
    data = json.dumps(body).encode()
    opener = urllib.request.build_opener(_NoRedirect)
    heads = {"Content-Type": "application/json", "User-Agent": "kohya-tui", **headers}
    for number in range(1, TRIES + 1):
        request = urllib.request.Request(address, data, heads, method="POST")
        wait = 2.0**number
        try:
            with opener.open(request, timeout=TIMEOUT) as answer:
                return f"HTTP {answer.status}" + (f", try {number}" if number > 1 else "")
        except urllib.error.HTTPError as error:
            error.close()
            if number == TRIES or not (error.code == 429 or error.code >= 500):
                raise
            with contextlib.suppress(ValueError):
                wait = min(20.0, float(error.headers.get("Retry-After") or wait))
        except OSError:
            if number == TRIES:
                raise
        pause(wait)
    raise AssertionError("unreachable")


def _run_command(words: Sequence[str], message: Message) -> str:
    """The user's own program: facts in its environment, the whole as JSON on its standard input, no shell."""
    environment = {name: value for name, value in os.environ.items() if name not in _SECRET_NAMES}
    environment |= {
        "KOHYA_TUI_EVENT": message.event,
        "KOHYA_TUI_TITLE": message.title,
        "KOHYA_TUI_TEXT": message.text,
        "KOHYA_TUI_RUN_ID": message.run or "",
    }
    process = subprocess.Popen(
        [str(Path(words[0]).expanduser()) if words[0].startswith("~") else words[0], *words[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=Path.home() if Path.home().is_dir() else "/",
        process_group=0,
    )
    try:
        _, errors = process.communicate(json.dumps(message.as_json()).encode(), COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise UserError(f"{words[0]} did not end within {COMMAND_SECONDS:.0f} s") from None
    if process.returncode != 0:
        last = (errors.decode("utf-8", "replace").strip().splitlines() or [""])[-1]
        raise UserError(f"{words[0]} ended with code {process.returncode}{f': {last}' if last else ''}")
    return "code 0"


_SECRET_NAMES = frozenset(f"KOHYA_TUI_{name.upper()}" for name in SECRETS)


def _reason(error: Exception) -> str:
    """What went wrong. Where Python complains of an address or a header, its text repeats a part of them: not shown."""
    if isinstance(error, urllib.error.HTTPError):
        hints = {401: ": wrong token?", 403: ": wrong token, or not your topic?", 404: ": wrong address?"}
        return f"HTTP {error.code}{hints.get(error.code, '')}"
    if isinstance(error, urllib.error.URLError):
        return f"no answer ({error.reason})"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:.0f} s"
    if isinstance(error, http.client.InvalidURL | ValueError):
        return "cannot be sent: a sign in its address or token is wrong"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return "what answers there is no web server"
    return str(error) or type(error).__name__


def host_name() -> str:
    """The machine's name without its domain."""
    return printable(socket.gethostname().partition(".")[0])


def message_for(event: Mapping[str, Any], *, name: str, run_id: str, reason: str | None, facts: str = "") -> Message:
    """What is said of a run's event (core.runs.vigil, and `finished` or `failed`). Times in seconds, sizes in bytes."""
    kind, shown = str(event.get("kind")), printable(name)
    text = reason or ""
    if kind == "finished":
        title = f"{shown} is finished"
    elif kind == "failed":
        title = f"{shown} failed" if not (reason or "").startswith("Stopped") else f"{shown} was stopped"
    elif kind == "nan":
        title = f"{shown}: the loss is NaN"
        text = f"Since step {event.get('step')}: checkpoints from there on are useless. It still runs: stop it."
    elif kind == "stalled":
        title = f"{shown} does not move"
        text = f"No output for {human_seconds(float(event.get('seconds') or 0))}. It still runs."
    elif kind == "disk":
        title = f"{shown}: the disk is nearly full"
        text = f"{float(event.get('free') or 0) / 1e9:.1f} GB are free in {event.get('folder')}."
    else:
        title = shown
    words = " ".join(part for part in (text, facts) if part)
    text = printable(words[:MAX_TEXT], newlines=True)
    return Message(
        kind, title, f"{text} ({run_id} on {host_name()})".strip(), run=run_id, name=shown, urgent=kind != "finished"
    )


def test_message() -> Message:
    """What `kohya-tui notify test` sends."""
    return Message("test", "kohya-tui: a test", f"Messages from {host_name()} arrive here.")
