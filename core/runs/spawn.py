"""The trainer's process: its environment, its own session, its output to the run's log. As small as the supervisor."""

from __future__ import annotations

import os
import signal
from typing import Any, NoReturn

SURROUNDINGS = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "COLUMNS": "400"}
"""Unbuffered lines, Japanese text, a log message a line (core/help/trainer.md). Not TQDM_MININTERVAL: above the
step time the trainer's own `unpause()` makes the bar's rate and time meaningless (`71575it/s`)."""
SECRETS = ("KOHYA_TUI_NTFY_TOKEN", "KOHYA_TUI_WEBHOOK")
"""Kept from the trainer: some trackers store the whole environment of a run."""


def spawn(
    run_dir: str, spec: dict[str, Any], added: dict[str, str], kept: list[int], blocked: set[signal.Signals]
) -> int:
    """Start the trainer, which inherits the locks `kept` and blocks no signals; its process id.

    `added` comes to its environment. Raises OSError with a sentence when it cannot be started.
    """
    argv = [str(item) for item in spec["argv"]]
    cwd = str(spec["cwd"])
    # A trainer that is started with colours forced on would fill the log with escapes.
    environment = {key: text for key, text in os.environ.items() if key not in ("FORCE_COLOR", "LINES", *SECRETS)}
    environment |= (
        SURROUNDINGS | dict(spec.get("env") or {}) | added | {"KOHYA_TUI_RUN": f"{spec['id']}@{spec['created']}"}
    )
    log = os.open(f"{run_dir}/output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_trainer(argv, cwd, environment, log, kept, writer, blocked)
    os.close(writer)
    os.close(log)
    message = b""
    while part := os.read(reader, 1000):  # ends with the exec, which closes the other end
        message += part
    os.close(reader)
    if not message:
        return pid
    os.waitpid(pid, 0)
    stage, _, text = message.decode("utf-8", "replace").partition(":")
    if stage == "cwd":
        raise OSError(f"The run cannot start: its working folder {cwd} cannot be entered ({text}).")
    raise OSError(
        f"The run cannot start: {argv[0]} cannot be executed ({text}). "
        "Check the Python of the trainer (`kohya-tui doctor`)."
    )


def _become_trainer(
    argv: list[str],
    cwd: str,
    environment: dict[str, str],
    log: int,
    kept: list[int],
    errors: int,
    blocked: set[signal.Signals],
) -> NoReturn:
    """In the child: own session, default signals, output to the log, then the trainer's program."""
    stage = "start"
    try:
        os.setsid()
        # SIGINT inherited as ignored would make Ctrl-C and SIGINT meaningless to the trainer (core/help/trainer.md).
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        for lock in kept:
            os.set_inheritable(lock, True)
        stage = "cwd"
        os.chdir(cwd)
        stage = "exec"
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        os.write(errors, f"{stage}:{error.strerror}".encode())
    finally:
        os._exit(127)
