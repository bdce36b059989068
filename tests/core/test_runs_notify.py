"""Messages about runs, over a real HTTP server and real programs; started by a real supervisor."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.problems import UserError
from core.runs import launch, notify, store, tell
from core.runs.vigil import Vigil
from core.settings import Settings, config_dir, load, save_user_table, user_file
from tests.core.cli_kit import Cli
from tests.core.runs_kit import Runs, wait_for

pytest_plugins = ("tests.core.runs_fixtures",)


class Server:
    """Takes requests, answers with `codes` one after another (200 when they are used up)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.codes: list[int] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((self.path, dict(self.headers), json.loads(body)))
                code = server.codes.pop(0) if server.codes else 200
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, format: str, *arguments: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, _, body in self.requests]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine."""
    server = Server()
    yield server
    server.close()


def settings_with(**table: object) -> Settings:
    return Settings(notify=table)


MESSAGE = notify.Message("failed", "リンニ failed", "The GPU ran out of memory <b>&", run="r1", urgent=True)


def test_ntfy_gets_topic_title_and_token(server: Server, own_home: Path) -> None:
    """A title in Japanese, the token in the header and nowhere else."""
    out = notify.ways(settings_with(ntfy=f"{server.url}/deep/kohya"), {"KOHYA_TUI_NTFY_TOKEN": "tk_secret"})
    (sent,) = notify.send(MESSAGE, out)
    assert (sent.way, sent.ok) == ("ntfy", True)
    ((path, headers, body),) = server.requests
    assert path == "/deep/"
    assert headers["Authorization"] == "Bearer tk_secret"
    assert body == {
        "topic": "kohya",
        "title": MESSAGE.title,
        "message": MESSAGE.text,
        "priority": 4,
        "tags": ["x"],
    }
    assert notify._topic("kohya") == ("https://ntfy.sh/", "kohya")
    assert notify.ways(settings_with(ntfy="https://ntfy.sh/")).problems


def test_a_webhook_gets_what_discord_and_slack_read(server: Server, own_home: Path) -> None:
    """`content` and `text`, and our own facts for whoever wants them."""
    out = notify.ways(Settings(), {"KOHYA_TUI_WEBHOOK": f"{server.url}/secret/path"})
    assert [one.ok for one in notify.send(MESSAGE, out)] == [True]
    (body,) = server.bodies
    assert body["content"] == body["text"] == f"{MESSAGE.title}\n{MESSAGE.text}"
    assert (body["event"], body["run"], body["title"]) == ("failed", "r1", MESSAGE.title)
    address, discord, _ = notify._webhook(MESSAGE, "https://discord.com/api/webhooks/1/x")
    assert address.endswith("/1/x")
    assert discord.keys() == {"content", "allowed_mentions"}
    assert notify._webhook(MESSAGE, "https://hooks.slack.com/services/x")[1].keys() == {"text"}


@pytest.mark.parametrize(
    ("codes", "tries", "ok"),
    [([500, 429, 200], 3, True), ([500, 502, 503], 3, False), ([403], 1, False), ([302], 1, False)],
)
def test_a_busy_server_is_asked_again(server: Server, own_home: Path, codes: list[int], tries: int, ok: bool) -> None:
    """Three times at most; never when it said no, and a redirection is not followed with the token."""
    server.codes = list(codes)
    pauses: list[float] = []
    out = notify.ways(settings_with(ntfy=f"{server.url}/t"), {})
    (sent,) = notify.send(MESSAGE, out, pause=pauses.append)
    assert (len(server.requests), sent.ok, len(pauses)) == (tries, ok, tries - 1)


def test_a_server_that_is_away_says_so_without_its_address(own_home: Path) -> None:
    """The webhook's address is a secret: it stands in no message."""
    out = notify.ways(Settings(), {"KOHYA_TUI_WEBHOOK": "http://127.0.0.1:9/hidden-path"})
    (sent,) = notify.send(MESSAGE, out, pause=lambda _: None)
    assert not sent.ok
    assert "no answer" in sent.detail
    assert "hidden-path" not in sent.detail


@pytest.mark.parametrize(
    "secrets",
    [
        {"KOHYA_TUI_WEBHOOK": "http://127.0.0.1:9/hidden path"},
        {"KOHYA_TUI_WEBHOOK": "http://127.0.0.1:hidden/x"},
        {"KOHYA_TUI_NTFY_TOKEN": "hidden\ntoken"},
    ],
)
def test_a_secret_with_a_wrong_sign_is_told_without_any_part_of_it(secrets: dict[str, str], own_home: Path) -> None:
    """Python's own complaint repeats the half of it, and would end in supervisor.log."""
    out = notify.ways(settings_with(**({} if "KOHYA_TUI_WEBHOOK" in secrets else {"ntfy": "topic"})), secrets)
    (sent,) = notify.send(MESSAGE, out, pause=lambda _: None)
    assert not sent.ok and "cannot be sent" in sent.detail
    assert "hidden" not in sent.detail


def test_what_is_no_web_server_and_no_command_is_told(own_home: Path) -> None:
    """Something else answers on that port; a quote of the command is not closed: said, never a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail ready\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        out = notify.ways(Settings(), {"KOHYA_TUI_WEBHOOK": f"http://127.0.0.1:{listening.getsockname()[1]}/x"})
        (sent,) = notify.send(MESSAGE, out, pause=lambda _: None)
    assert not sent.ok and "no web server" in sent.detail
    out = notify.ways(settings_with(command="notify-send 'x"), {})
    assert out.names == () and [problem.code for problem in out.problems] == ["KT520"]


def test_the_command_gets_the_facts_and_no_secret(tmp_path: Path, own_home: Path) -> None:
    """JSON on its standard input, facts in its environment, no shell."""
    code = "import json,os,sys; json.dump([json.load(sys.stdin), dict(os.environ), sys.argv], open(sys.argv[1], 'w'))"
    told = tmp_path / "told; touch x"
    out = notify.ways(
        settings_with(command=[sys.executable, "-c", code, str(told)]), {"KOHYA_TUI_NTFY_TOKEN": "tk_secret"}
    )
    assert notify.send(MESSAGE, out)[0].ok
    document, environment, _ = json.loads(told.read_text())
    assert (document["event"], document["message"]) == ("failed", MESSAGE.text)
    assert environment["KOHYA_TUI_TITLE"] == MESSAGE.title
    assert "tk_secret" not in told.read_text()


def test_a_command_that_hangs_or_fails_is_told(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended after its time with what it started; a failure with its last line."""
    monkeypatch.setattr(notify, "COMMAND_SECONDS", 0.3)
    (hung,) = notify.send(MESSAGE, notify.ways(settings_with(command="sh -c 'sleep 600'"), {}))
    assert not hung.ok and "did not end" in hung.detail
    (failed,) = notify.send(MESSAGE, notify.ways(settings_with(command=["sh", "-c", "echo why >&2; exit 4"]), {}))
    assert not failed.ok and "code 4: why" in failed.detail
    (missing,) = notify.send(MESSAGE, notify.ways(settings_with(command=["/nowhere/x"]), {}))
    assert not missing.ok


def test_secrets_are_kept_for_their_user_only(own_home: Path) -> None:
    """Mode 0600; a file that others can read is refused, with the command that mends it."""
    notify.save_secret("webhook", "https://example.org/x")
    notify.save_secret("ntfy_token", "tk")
    path = notify.secrets_file()
    assert path.stat().st_mode & 0o777 == 0o600
    found = notify.ways(Settings(), {})
    assert (found.webhook, found.ntfy_token) == ("https://example.org/x", "tk")
    path.chmod(0o644)
    refused = notify.ways(Settings(), {})
    assert (refused.webhook, refused.problems[0].code) == (None, "KT521")
    assert "chmod 600" in (refused.problems[0].hint or "")
    notify.save_secret("webhook", None)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_workspace_cannot_set_up_messages(workspace: Any, own_home: Path) -> None:
    """A folder that somebody shared neither runs their program nor writes to their topic."""
    (workspace.root / "kohya-tui.toml").write_text('[notify]\ncommand = "evil"\n')
    settings = load(workspace.root, environment={})
    assert not settings.notify
    assert [problem.code for problem in settings.problems] == ["KT003"]
    user_file().parent.mkdir(parents=True, exist_ok=True)
    user_file().write_text('[notify]\non = ["finised"]\n')
    assert "finised" in load(None, environment={}).problems[0].message


def test_many_messages_are_summed_up(tmp_path: Path) -> None:
    """Thirty an hour, then a last word, then silence; later it begins anew."""
    answers = [tell.budget(tmp_path, 1000.0 + index) for index in range(tell.PER_HOUR + 3)]
    assert answers[: tell.PER_HOUR] == [None] * tell.PER_HOUR
    assert "nothing more is sent" in (answers[tell.PER_HOUR] or "")
    assert answers[-1] == ""
    assert tell.budget(tmp_path, 9000.0) is None
    (tmp_path / "file").touch()
    assert tell.budget(tmp_path / "file", 9000.0) is None  # a home that cannot be written keeps no message back


def set_up(server: Server) -> None:
    config_dir().mkdir(parents=True, exist_ok=True)
    user_file().write_text(f'[notify]\nntfy = "{server.url}/topic"\n')


def test_a_run_tells_of_its_failure_while_nobody_is_attached(runs: Runs, server: Server, own_home: Path) -> None:
    """The reason with its remedy, from a child of the supervisor; the token is nowhere in the run's folder."""
    set_up(server)
    notify.save_secret("ntfy_token", "tk_very_secret")
    run = runs.ended(runs.start("raise ImportError('No xformers')"))
    wait_for(lambda: server.requests)
    (body,) = server.bodies
    assert body["title"] == "test failed"
    assert "sdpa = true" in body["message"] and run.id in body["message"]
    assert server.requests[0][1]["Authorization"] == "Bearer tk_very_secret"
    for path in run.dir.rglob("*"):
        if path.is_file():
            assert b"tk_very_secret" not in path.read_bytes()


def test_secrets_do_not_reach_the_trainer(runs: Runs, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some trackers store the whole environment."""
    monkeypatch.setenv("KOHYA_TUI_WEBHOOK", "http://127.0.0.1:9/hidden")
    run = runs.start("say(dict(os.environ)); say('end'); time.sleep(600)")
    assert "hidden" not in runs.logged(run, "end")


def test_a_stop_on_request_is_not_told_and_one_from_outside_is(runs: Runs, server: Server, own_home: Path) -> None:
    """Who asked knows; a machine that shuts down does not ask."""
    set_up(server)
    asked = runs.start("say('up'); time.sleep(600)", name="asked")
    runs.logged(asked, "up")
    launch.stop(asked)
    runs.ended(asked)
    other = runs.start("say('up'); time.sleep(600)", name="other")
    runs.logged(other, "up")
    os.kill(store.observe(other.dir).status.supervisor_pid or 0, 15)
    runs.ended(other)
    wait_for(lambda: server.requests)
    assert [body["title"] for body in server.bodies] == ["other was stopped"]


BAR = "steps:  17%|█▋        | {step}/60 [00:07<00:37,  1.32it/s, avr_loss={loss}]"


def test_nan_stall_and_disk_are_told_while_the_run_goes_on(
    runs: Runs, server: Server, own_home: Path, tmp_path: Path
) -> None:
    """Once each, in state.json and as messages; the sleeping trainer uses no CPU and there is no GPU."""
    set_up(server)
    bar = BAR.format(step=12, loss="nan")
    code = f"print({bar!r}, end='\\r', flush=True); until('go'); say('more'); until('end')"
    alerts = {"stall_minutes": 1.5 / 60, "disk_gb": 1e9, "look_seconds": 0.2}
    run = runs.start(code, alerts=alerts)
    wait_for(lambda: len(server.requests) == 3, 40)
    assert {body["title"] for body in server.bodies} == {
        "test: the loss is NaN",
        "test does not move",
        "test: the disk is nearly full",
    }
    warning = store.observe(run.dir).status.warning or ""
    for words in ("at step 12", "No progress", "are free"):
        assert words in warning
    (tmp_path / "go").touch()
    wait_for(lambda: "No progress" not in (store.observe(run.dir).status.warning or ""))
    assert len(server.requests) == 3
    (tmp_path / "end").touch()
    assert runs.ended(run).status.warning is None


def test_a_busy_process_is_no_stall(runs: Runs, own_home: Path) -> None:
    """Latents are cached without a word for a while: the CPU works."""
    run = runs.start("say('up')\nwhile True: pass")
    assert tell.device_works(run.dir)
    launch.stop(run)


def test_the_watch_reads_only_what_is_new(tmp_path: Path) -> None:
    """A log of 50 MB costs one small read, and a look without news three system calls."""
    log = tmp_path / "output.log"
    log.write_bytes(b"x" * 50_000_000 + b"\r" + BAR.format(step=40, loss="0.12").encode())
    vigil = Vigil(str(tmp_path), {"alerts": {"look_seconds": 0}})
    begun = time.process_time()
    for _ in range(200):
        assert vigil.look() == []
    assert time.process_time() - begun < 0.2
    half = BAR.format(step=41, loss="nan").encode()
    with log.open("ab") as stream:
        stream.write(b"\r" + half[:-6])
    assert vigil.look() == []
    with log.open("ab") as stream:
        stream.write(half[-6:] + b"\r")
    assert vigil.look() == [{"kind": "nan", "step": 41}]


def test_an_unwritable_secrets_file_is_told(own_home: Path) -> None:
    """A broken file is not overwritten."""
    config_dir().mkdir(parents=True, exist_ok=True)
    notify.secrets_file().write_text("webhook = ")
    notify.secrets_file().chmod(0o600)
    with pytest.raises(UserError, match="is not used"):
        notify.save_secret("webhook", "https://x")


def test_a_home_that_cannot_be_written_is_told(own_home: Path) -> None:
    """Its folder links to a disk that is away: for setting and secret a sentence with the file, no traceback."""
    config_dir().parent.mkdir(parents=True, exist_ok=True)
    config_dir().symlink_to(config_dir().parent / "away" / "kohya-tui")
    for save in (lambda: notify.save_secret("webhook", "https://x"), lambda: save_user_table("notify", "bell", True)):
        with pytest.raises(UserError, match="Cannot write"):
            save()


def test_the_command_sets_up_and_tries(server: Server, bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings by `set`, secrets from standard input, a test message by every way; never a secret on the screen."""
    assert "Nothing is set up" in bare("notify").out
    bare("notify", "test", code=1)
    bare("notify", "set", "ntfy", f"{server.url}/topic")
    bare("notify", "set", "on", "failed,nan")
    bare("notify", "set", "disk_gb", "12.5")
    assert "is a secret" in bare("notify", "set", "webhook", "https://x", code=1).err
    assert "finised" in bare("notify", "set", "on", "finised", code=1).err
    assert "loud" in bare("notify", "set", "loud", "1", code=1).err
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{server.url}/hidden\n"))
    bare("notify", "secret", "webhook")
    shown = bare("notify", "--json")
    assert shown.json["ways"] == ["ntfy", "webhook"]
    assert (shown.json["on"], shown.json["disk_gb"], shown.json["webhook"]) == (["failed", "nan"], 12.5, True)
    assert "hidden" not in shown.out + bare("notify").out
    server.codes = [200, 404]
    answer = bare("notify", "test", "--json", code=1)
    assert [(one["way"], one["ok"]) for one in answer.json["sent"]] == [("ntfy", True), ("webhook", False)]
    assert "hidden" not in answer.out + answer.err
    bare("notify", "unset", "webhook")
    bare("notify", "unset", "on")
    assert bare("notify", "--json").json["ways"] == ["ntfy"]


def test_a_short_tag_run_is_not_told() -> None:
    """Whoever tags twelve pictures sits in front of them; an hour of tagging, and any training, is told."""
    tag = {"kind": "tag"}
    assert tell.is_short_tagging(tag, {"started": 100.0, "ended": 130.0})
    assert not tell.is_short_tagging(tag, {"started": 100.0, "ended": 3700.0})
    assert not tell.is_short_tagging({"kind": "train"}, {"started": 100.0, "ended": 130.0})
