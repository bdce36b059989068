"""The child that talks to the hub (see core.tagging.download, which starts it)."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from core.files import write_atomic
from core.problems import UserError
from core.tagging.descriptor_files import is_revision
from core.tagging.parts import fetch_large, part_of
from core.text import human_bytes

_T = TypeVar("_T")
RETRIES = 4
"""Attempts per file, 1, 2 and 4 s apart. The client itself retries a cut connection, but not a 5xx answer."""
CHUNK = 256 * 1024
"""The client's own 10 MiB would mean one sign of life every few seconds on a slow line."""
_SPARE = 50_000_000
_LINE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is asked for. `revision` is a branch, tag or commit; once the hub has told, `commit` is what it means."""

    repo_id: str
    revision: str
    local_dir: Path | None
    is_gated: bool
    force: bool
    commit: str | None = None

    @property
    def exact(self) -> str:
        return self.commit or self.revision


@dataclass(frozen=True, slots=True)
class _Remote:
    """One file as the hub describes it. `etag` is its SHA-256 (large files) or its git blob hash (small ones)."""

    name: str
    size: int
    etag: str
    commit: str | None

    @property
    def is_large(self) -> bool:
        """Whether the etag is a SHA-256."""
        return re.fullmatch("[0-9a-f]{64}", self.etag) is not None


def main(request_text: str) -> int:
    """Do one request; prints JSON lines. Returns the exit status."""
    signal.signal(signal.SIGTERM, _leave)
    request = json.loads(request_text)
    wanted = _Wanted(
        request["repo_id"],
        request.get("revision") or "main",
        Path(request["local_dir"]) if request.get("local_dir") else None,
        bool(request.get("is_gated")),
        bool(request.get("force")),
    )
    try:
        _fetch(wanted, list(request["files"]), list(request.get("extras") or ()))
    except UserError as error:
        _say(error=error.message, hint=error.hint)
        return 1
    _say(end=True)
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def _fetch(wanted: _Wanted, files: list[str], extras: list[str]) -> None:
    from huggingface_hub import constants

    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    remotes: list[_Remote] = []
    for name in [*files, *extras]:
        is_extra = len(remotes) >= len(files)
        remote = _retried(wanted, name, partial(_describe, wanted, name, is_extra=is_extra))
        if remote is not None:
            remotes.append(remote)
            wanted = replace(wanted, commit=wanted.commit or remote.commit)
    total = sum(remote.size for remote in remotes)
    base = wanted.local_dir or Path(constants.HF_HUB_CACHE)
    _check_space(base, sum(_missing(wanted, remote) for remote in remotes))
    done = 0
    for remote in remotes:
        report = _Reporter(remote.name, done, total)
        path = _retried(wanted, remote.name, partial(_one, wanted, remote, report))
        done += remote.size
        _say(file=remote.name, done=done, total=total, path=str(path))
    if wanted.local_dir is None:
        _point(wanted)
    else:
        # The client's own notes; without them it compares checksums, as we do anyway.
        shutil.rmtree(wanted.local_dir / ".cache" / "huggingface", ignore_errors=True)
        with contextlib.suppress(OSError):
            (wanted.local_dir / ".cache").rmdir()


def _point(wanted: _Wanted) -> None:
    """Let the branch or tag in the cache mean this commit, now that all its files are there; the client does so only
    when it is asked for files by that name.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if wanted.commit is None or wanted.commit == wanted.revision:
        return
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=wanted.repo_id, repo_type="model")
    reference = folder / "refs" / wanted.revision
    with contextlib.suppress(OSError, UserError):
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(reference, wanted.commit)


class _Reporter:
    """Prints progress, at most ten lines a second."""

    def __init__(self, file: str, before: int, total: int) -> None:
        self._file = file
        self._before = before
        self._total = total
        self._last = 0.0

    def report(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last >= _LINE_SECONDS:
            self._last = now
            _say(file=self._file, done=min(self._before + done, self._total), total=self._total)


def _describe(wanted: _Wanted, name: str, *, is_extra: bool) -> _Remote | None:
    """None for an extra that the repository lacks."""
    from huggingface_hub import constants, errors, get_hf_file_metadata, hf_hub_url

    try:
        facts = get_hf_file_metadata(hf_hub_url(wanted.repo_id, name, revision=wanted.exact))
    except errors.EntryNotFoundError:
        if is_extra:
            return None
        raise
    if facts.size is None or facts.etag is None:
        raise UserError(f"The hub does not tell the size of {wanted.repo_id}/{name}", "Is HF_ENDPOINT a full mirror?")
    # Both become file names in the hub's cache, and a mirror may send anything.
    if not re.fullmatch(r"[\w+=-]{1,128}", facts.etag) or not is_revision(facts.commit_hash or "main"):
        raise UserError(f"{constants.ENDPOINT} tells no proper checksum of {wanted.repo_id}/{name}", "Is it a mirror?")
    return _Remote(name, facts.size, facts.etag, facts.commit_hash)


def _one(wanted: _Wanted, remote: _Remote, report: _Reporter) -> Path:
    """The checked file; fetched when it is missing, and once more when it is not what the hub announces."""
    if remote.is_large:
        from huggingface_hub import hf_hub_url

        target = _place(wanted, remote)
        url = hf_hub_url(wanted.repo_id, remote.name, revision=wanted.exact)
        check = partial(_is_right, remote=remote)
        if fetch_large(url, target, remote.etag, remote.size, _bar(report), check, force=wanted.force):
            return target if wanted.local_dir is not None else _download(wanted, remote.name, report, force=False)
        path = target
    else:
        for again in (wanted.force, True):
            path = _download(wanted, remote.name, report, force=again)
            if _is_right(path, remote):
                return path
    with contextlib.suppress(OSError):
        path.resolve().unlink()
    raise UserError(
        f"{wanted.repo_id}/{remote.name} arrived damaged twice (its checksum is wrong)",
        "A proxy or mirror changes it: try another network, or without HF_ENDPOINT.",
    )


def _place(wanted: _Wanted, remote: _Remote) -> Path:
    """Where the content of a large file lies: in the folder asked for, or in the cache under its checksum."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if wanted.local_dir is not None:
        return wanted.local_dir / remote.name
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=wanted.repo_id, repo_type="model")
    return folder / "blobs" / remote.etag


def _download(wanted: _Wanted, name: str, report: _Reporter, *, force: bool) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(
        hf_hub_download(
            wanted.repo_id,
            name,
            revision=wanted.exact,
            local_dir=wanted.local_dir,
            force_download=force,
            tqdm_class=_bar(report),
        )
    )


def _bar(report: _Reporter) -> type:
    """What the client takes for a progress bar: draws nothing and tells `report` the bytes so far."""

    class Bar:
        def __init__(self, *_: object, initial: float = 0, **_options: object) -> None:
            self.n = int(initial)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            report.report(self.n)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_, **_options: None  # close, refresh, set_description …

    return Bar


def _is_right(path: Path, remote: _Remote) -> bool:
    size = path.stat().st_size
    if size != remote.size:
        return False
    if remote.is_large:
        digest = hashlib.sha256()
    elif re.fullmatch("[0-9a-f]{40}", remote.etag):
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    else:
        return True  # a mirror with ETags of its own
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == remote.etag


def _missing(wanted: _Wanted, remote: _Remote) -> int:
    """Bytes that are not there yet; whether what is there is right is checked later."""
    place = _place(wanted, remote)
    with contextlib.suppress(OSError):
        if not wanted.force and place.stat().st_size == remote.size:
            return 0
    with contextlib.suppress(OSError):
        return max(0, remote.size - part_of(place, remote.etag).stat().st_size)
    return remote.size


def _check_space(base: Path, total: int) -> None:
    existing = next((folder for folder in (base, *base.parents) if folder.exists()), Path("/"))
    free = shutil.disk_usage(existing).free
    if total and free < total + _SPARE:
        raise UserError(
            f"The download needs {human_bytes(total)}, and {existing} has {human_bytes(free)} free",
            "Free some space, or set HF_HOME to a folder on another disk.",
        )


def _retried(wanted: _Wanted, name: str, attempt: Callable[[], _T]) -> _T:
    """`attempt`, again after what may pass. Raises UserError in plain words."""
    for number in range(1, RETRIES + 1):
        try:
            return attempt()
        except UserError:
            raise
        except Exception as error:  # classes of huggingface_hub and of its HTTP client, which changed with 1.0 and 2.0
            if number == RETRIES or not _may_pass(error):
                raise _in_words(wanted, name, error) from error
            pause = max(2.0 ** (number - 1), _asked_pause(error))
        time.sleep(pause)
    raise AssertionError("unreachable")


def _asked_pause(error: BaseException) -> float:
    """Seconds that a busy hub asks for with Retry-After, at most a minute."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    text = str(headers.get("Retry-After") or "")
    return min(float(text), 60.0) if text.isascii() and text.isdecimal() else 0.0


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _may_pass(error: Exception) -> bool:
    """Cut connections, timeouts and 5xx; not what the hub refuses, and not a missing network (the client waited 23
    s).
    """
    from huggingface_hub.errors import LocalEntryNotFoundError

    status = _status(error)
    if isinstance(error, LocalEntryNotFoundError):
        return False
    if status is not None:
        return status >= 500 or status == 429
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        return False
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"RemoteProtocolError", "ReadError", "TimeoutException"}) or "Consistency check" in str(error)


def _in_words(wanted: _Wanted, name: str, error: Exception) -> UserError:
    from huggingface_hub import constants, get_token
    from huggingface_hub import errors as hub

    repo_id, where = wanted.repo_id, constants.ENDPOINT
    is_refused = _status(error) in (401, 403)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"The disk is full: {repo_id}/{name} does not fit", "Free some space, or set HF_HOME elsewhere."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        return UserError(
            f"Cannot write {error.filename}: {error.strerror}", "Set HF_HOME to a folder that you may write."
        )
    if isinstance(error, hub.OfflineModeIsEnabled):
        return UserError(
            f"{repo_id} is not on this machine, and HF_HUB_OFFLINE is set", "Unset it to download the model."
        )
    if isinstance(error, hub.GatedRepoError) or (wanted.is_gated and is_refused):
        return UserError(
            f"{repo_id} is only given to users who accepted its terms",
            f"Accept them on {where}/{repo_id}, then log in: hf auth login (or set HF_TOKEN).",
        )
    if isinstance(error, hub.RepositoryNotFoundError):
        token = " Or the token that is used (HF_TOKEN, hf auth login) is no longer valid." if get_token() else ""
        return UserError(
            f"{where} has no repository {repo_id}, or it is private",
            f"Check the spelling (kohya-tui models lists the known ones); for a private one: hf auth login.{token}",
        )
    if isinstance(error, hub.LocalEntryNotFoundError) or (_status(error) is None and _is_network(error)):
        return UserError(
            f"No connection to {where}: {_reason(error)}",
            "Check the network. A mirror is named by HF_ENDPOINT, a proxy by HTTPS_PROXY. "
            "A model copied from elsewhere works, too: name its folder with --model.",
        )
    if isinstance(error, hub.EntryNotFoundError):
        return UserError(
            f"The repository {repo_id} has no file {name}",
            "It is no tagger of a known form. Known ones: kohya-tui models; how to describe another: kohya-tui help "
            "models",
        )
    if isinstance(error, hub.RevisionNotFoundError):
        return UserError(
            f"The repository {repo_id} has no branch, tag or commit {wanted.revision}",
            f"Look it up on {where}/{repo_id}/commits/main, or leave out --revision.",
        )
    if is_refused:
        return UserError(
            f"{where} does not let you read {repo_id}/{name}",
            "Is HF_TOKEN right, and does it belong to an account that may read it? See: hf auth whoami",
        )
    status = _status(error)
    if status is not None:
        return UserError(f"{where} answers with error {status} for {repo_id}/{name}", "Try it again later.")
    return UserError(f"The download of {repo_id}/{name} failed: {_reason(error)}", "Try it again.")


def _is_network(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"ConnectError", "NetworkError", "TimeoutException", "ConnectionError", "TransportError"})


def _reason(error: BaseException) -> str:
    """The innermost cause in one line: the outer ones say that something went wrong."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
