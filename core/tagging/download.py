"""Fetching models through huggingface_hub, in a child process.

`python -P -m core.tagging.download REQUEST` prints one JSON object a line: progress, then the end or an error. A
child, because its import costs 0.5 s and 18 MiB, it writes warnings to the terminal, and cancelling it is ending it.
The hub's own client accepts wrong bytes of the right length, so every file is checked against the SHA-256 that the
hub announces.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core.problems import UserError
from core.tagging.models import SD_SCRIPTS_FOLDER, TaggerModel, local_folder


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """Bytes of all files together; `total` is 0 until the hub has told the sizes, `path` is set when a file is
    complete.
    """

    file: str
    done: int
    total: int
    path: Path | None = None


def download(
    model: TaggerModel,
    model_dir: Path | None = None,
    *,
    force: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[DownloadProgress, None, None]:
    """Fetch the files of `model` into the Hugging Face cache, or below `model_dir` as sd-scripts lays them out. A copy
    that sd-scripts left behind is put right where it lies: it would be found before a new one.

    Files that are there and right are not fetched again. Otherwise as `fetch`.
    """
    if model_dir is None and model.onnx is not None:
        model_dir = next((folder for folder in model.onnx.parents if folder.name == SD_SCRIPTS_FOLDER), None)
    folder = None if model_dir is None else model_dir / local_folder(model)
    return fetch(
        model.repo_id,
        model.needed,
        folder=folder,
        force=force,
        extras=model.extras,
        revision=model.revision,
        is_gated=model.is_gated,
        should_stop=should_stop,
    )


def fetch(
    repo_id: str,
    files: Sequence[str],
    *,
    folder: Path | None = None,
    force: bool = False,
    extras: Sequence[str] = (),
    revision: str | None = None,
    is_gated: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[DownloadProgress, None, None]:
    """Fetch files of a repository into the Hugging Face cache, or into `folder` under their names in the repository.

    All come from one commit: the one that `revision` (None: `main`) means when the download begins. `extras` are left
    out where the repository does not have them. What is there is compared with the hub's checksum and fetched again
    when it differs, or with `force`. `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` count. Closing the
    iterator ends the download, and `should_stop` within 0.2 s, also while nothing arrives. Raises UserError with the
    reason and the remedy, also for a name that would lead out of the folder.
    """
    for name in (*files, *extras):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise UserError(f"{name} is no file inside a repository", "Name it as the repository's page does.")
    target = None if folder is None else str(folder)
    request = json.dumps(
        {
            "repo_id": repo_id,
            "files": list(files),
            "extras": list(extras),
            "revision": revision,
            "is_gated": is_gated,
            "local_dir": target,
            "force": force,
        }
    )
    # xet, the hub's other protocol, reports no progress by bytes and ignores proxies and mirrors.
    environment = os.environ | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUTF8": "1"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "core.tagging.download", request],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert child.stdout is not None and child.stderr is not None
    try:
        ended = False
        for line in _lines(child.stdout.fileno(), should_stop):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if "error" in event:
                raise UserError(event["error"], event.get("hint"))
            ended = ended or bool(event.get("end"))
            if "done" in event:
                path = event.get("path")
                yield DownloadProgress(event["file"], event["done"], event["total"], Path(path) if path else None)
        if should_stop() and not ended:
            return
        if child.wait() != 0 or not ended:
            said = child.stderr.read().decode("utf-8", "replace")
            last = (said.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"The download of {repo_id} ended early: {last}", "Try it again.")
    finally:
        if child.poll() is None:
            child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()
        child.stderr.close()


def _lines(descriptor: int, should_stop: Callable[[], bool]) -> Iterator[bytes]:
    rest = b""
    while not should_stop():
        if not select.select([descriptor], [], [], 0.2)[0]:
            continue
        data = os.read(descriptor, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


if __name__ == "__main__":
    from core.tagging.hub import main

    sys.exit(main(sys.argv[1]))
