"""The catalogue of the user's own checkout, kept in the cache folder and read again when the checkout changes.

Reading is 0.8 s of CPU, so it is done by a child process (`python -m core.config.refresh CHECKOUT`), never at start-up.
Without a checkout, or with one that cannot be read, what is shipped holds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.files import content_hash, read_json, write_json
from core.problems import UserError
from core.settings import cache_dir, load

if TYPE_CHECKING:
    import subprocess

_PARTS = frozenset({"options", "help", "dataset", "network_args", "optimizers"})
_FOLDERS = ("", "library", "networks")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is in the cache about a checkout. `facts` is None when it could not be read, and `problem` says why."""

    checkout: Path
    stamp: str
    commit: str | None
    facts: Mapping[str, Any] | None
    problem: str | None = None

    @property
    def name(self) -> str:
        """As people call it: the folder, and the commit where git keeps it."""
        return f"{self.checkout}, commit {self.commit[:8]}" if self.commit else str(self.checkout)


def kept(checkout: Path | None = None) -> Kept | None:
    """What the cache has about `checkout`, by default that of the settings; None when there is nothing.

    It may be older than the checkout: see `is_stale`.
    """
    checkout = checkout if checkout is not None else load().sd_scripts
    if checkout is None:
        return None
    data = read_json(_file(checkout))
    if data is None or data.get("v") != _version() or not isinstance(data.get("stamp"), str):
        return None
    facts, problem, commit = data.get("facts"), data.get("problem"), data.get("commit")
    if not isinstance(facts, dict) or not facts.keys() >= _PARTS:
        facts = None
    if facts is None and not isinstance(problem, str):
        return None
    return Kept(checkout, data["stamp"], commit if isinstance(commit, str) else None, facts, problem)


def is_stale(checkout: Path) -> bool:
    """Whether the cache lacks this state of the checkout: other commit, or other sizes or times of its sources."""
    known = kept(checkout)
    return known is None or known.stamp != _stamp(checkout)


def refresh(checkout: Path) -> Kept:
    """Read the checkout and keep what it says, or why it cannot be read, which is `problem` of the result.

    Raises UserError only when the cache folder cannot be written.
    """
    from core.config.checkout import read_checkout
    from core.config.schema import known_paths

    stamp, commit = _stamp(checkout), _commit(checkout)
    facts: dict[str, Any] | None = None
    problem: str | None = None
    try:
        facts = read_checkout(checkout, known_paths())
    except UserError as error:
        problem = error.message
    path = _file(checkout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot write {path.parent}: {error.strerror}", "Set XDG_CACHE_HOME to a folder of yours."
        ) from error
    data = {"v": _version(), "checkout": str(checkout), "stamp": stamp, "commit": commit}
    write_json(path, {**data, "problem": problem, "facts": facts}, fsync=False)
    return Kept(checkout, stamp, commit, facts, problem)


def begin(checkout: Path) -> subprocess.Popen[bytes]:
    """A child process that refreshes; when it has ended, `schema.forget()` makes its result count."""
    import subprocess  # 10 ms, which nobody should pay who only looks at a config

    return subprocess.Popen(
        [sys.executable, "-P", "-m", "core.config.refresh", str(checkout)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _version() -> int:
    from core.config.schema import VERSION

    return VERSION


def _file(checkout: Path) -> Path:
    return cache_dir() / "catalogue" / f"{content_hash(str(checkout).encode())[:16]}.json"


def _stamp(checkout: Path) -> str:
    """A hash of the commit and of name, size and time of every source that is read: 130 files, 1 ms."""
    rows = [str(_commit(checkout))]
    for folder in _FOLDERS:
        try:
            for path in sorted((checkout / folder).glob("*.py")):
                facts = path.stat()
                rows.append(f"{folder}/{path.name} {facts.st_size} {facts.st_mtime_ns}")
        except OSError:
            rows.append(f"{folder}: unreadable")
    return content_hash("\n".join(rows).encode())


def _commit(checkout: Path) -> str | None:
    """The commit that is checked out; None outside git. Read from its files: git itself may not be installed."""
    git = checkout / ".git"
    try:
        if git.is_file():  # a worktree: "gitdir: FOLDER"
            git = checkout / git.read_text("utf-8").partition(":")[2].strip()
        head = (git / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref: "):
            return head or None
        name = head.removeprefix("ref: ")
        common = git / (git / "commondir").read_text("utf-8").strip() if (git / "commondir").is_file() else git
        for place in (git / name, common / name):
            if place.is_file():
                return place.read_text("utf-8").strip() or None
        for line in (common / "packed-refs").read_text("utf-8").splitlines():
            commit, _, ref = line.partition(" ")
            if ref == name:
                return commit
    except (OSError, UnicodeDecodeError):
        return None
    return None


if __name__ == "__main__":
    refresh(Path(sys.argv[1]))
