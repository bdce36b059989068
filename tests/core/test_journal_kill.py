"""What `kill -9` leaves behind: at every system call of a bulk edit, a stream, an undo and a redo.

Run as a script this file is the victim: it forks one child for each kill point, and each child kills itself just before
(for a write: in the middle of) its n-th system call.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.dataset.edits import Added, Edit, Journal, Move
from core.workspace import Workspace, create

OLD = {"a.txt": b"1girl, smile", "b.txt": b"caf\xe9 \xff", "c.txt": "ユキ\r\nzweite".encode()}
NEW = {"a.txt": b"rinni, 1girl, smile", "b.txt": b"rinni", "c.txt": None, "d.txt": b"brand new"}
CALLS = ("write", "fsync", "rename", "replace", "unlink", "mkdir", "link", "rmdir", "ftruncate")


def folder_of(workspace: Workspace) -> Path:
    return workspace.train_data / "rinni" / "10_rinni"


def prepare(root: Path) -> Workspace:
    workspace = create(root)
    folder = folder_of(workspace)
    folder.mkdir(parents=True)
    for name, data in OLD.items():
        (folder / name).write_bytes(data)
    return workspace


def content(workspace: Workspace) -> dict[str, bytes]:
    root = workspace.train_data
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def bulk(workspace: Workspace) -> None:
    folder = folder_of(workspace)
    edits: list[Any] = [Edit(folder / name, OLD.get(name), data) for name, data in NEW.items()]
    edits.append(Move(folder / "a.txt", folder.parent / "5_other" / "a.txt"))
    edits.append(Edit(folder.parent / "5_other" / "deep" / "e.txt", None, b"in a new folder"))
    Journal(workspace).apply("Bulk", edits)


def stream(workspace: Workspace) -> None:
    folder = folder_of(workspace)
    with Journal(workspace).begin("Stream", kind="tag") as group:
        for name, data in NEW.items():
            group.write(folder / name, data)
            group.flush()
        group.move(folder / "a.txt", folder.parent / "5_other" / "a.txt")
        image = folder / "new.png"
        temp = folder / ".kt-temp"
        temp.write_bytes(b"pixels")
        group.added(image, like=temp)
        temp.replace(image)


def undo(workspace: Workspace) -> None:
    Journal(workspace).undo()


def redo(workspace: Workspace) -> None:
    Journal(workspace).redo()


def arm(point: int) -> None:
    """Let this process die at its `point`-th system call."""
    count = 0

    def wrapped(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == point:
                if name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))


def main(base: Path, kind: str) -> None:
    """One workspace for each kill point until a child comes through alive; prints how many were killed."""
    for point in range(1, 1000):
        workspace = prepare(base / str(point))
        if kind in {"undo", "redo"}:
            bulk(workspace)
            stream_free = folder_of(workspace) / "b.txt"
            Journal(workspace).apply("More", [Edit(stream_free, b"rinni", b"rinni, more")])
            Journal(workspace).undo()
        if kind == "redo":
            Journal(workspace).undo()
        child = os.fork()
        if child == 0:
            arm(point)
            {"bulk": bulk, "stream": stream, "undo": undo, "redo": redo}[kind](workspace)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            print(point - 1)
            return
        assert os.WIFSIGNALED(status), f"{kind} failed at point {point}: {status}"
    raise AssertionError("no end")


def victims(base: Path, kind: str) -> list[Workspace]:
    done = subprocess.run(
        [sys.executable, __file__, str(base), kind],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    killed = int(done.stdout)
    assert killed > 10
    return [Workspace((base / str(point)).resolve()) for point in range(1, killed + 1)]


def after(kind: Any, base: Path) -> dict[str, bytes]:
    workspace = prepare(base / f"whole-{kind.__name__}")
    kind(workspace)
    return content(workspace)


def leftovers(workspace: Workspace) -> list[str]:
    return [path.name for path in workspace.own.rglob("*.open.jsonl")]


def without_temp(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if "/.kt-" not in name}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path


def test_a_killed_bulk_edit_is_whole_or_nothing(base: Path) -> None:
    """After a kill the next start finishes the edit or forgets it; undo gives the old bytes either way."""
    old = content(prepare(base / "old"))
    new = after(bulk, base)
    seen = set()
    for workspace in victims(base / "bulk", "bulk"):
        journal = Journal(workspace)
        recovered = journal.recover()
        now = without_temp(content(workspace))
        assert now in (old, new), workspace.root.name
        seen.add(now == new)
        assert not leftovers(workspace)
        assert all(group.state == "done" for group in recovered)
        if now == new:
            assert journal.undo().conflicts == ()
        else:
            assert journal.history() == []
        assert without_temp(content(workspace)) == old, workspace.root.name
    assert seen == {True, False}


def test_a_killed_stream_is_kept_as_far_as_it_went(base: Path) -> None:
    """A killed tag run leaves its captions; one undo takes all of them back, byte for byte."""
    old = content(prepare(base / "old-stream"))
    new = after(stream, base)
    for workspace in victims(base / "stream", "stream"):
        journal = Journal(workspace)
        journal.recover()
        assert not leftovers(workspace)
        now = without_temp(content(workspace))
        for name, data in now.items():
            assert data in (old.get(name), new.get(name), NEW.get(Path(name).name)), (workspace.root.name, name)
        groups = journal.history()
        if now != old:
            assert [group.state for group in groups] == ["done"], workspace.root.name
        if groups:
            assert journal.undo().conflicts == ()
        assert without_temp(content(workspace)) == old, workspace.root.name


def test_a_killed_undo_is_finished(base: Path) -> None:
    """An undo that was killed goes on at the next start, or never began."""
    old = content(prepare(base / "old-undo"))
    new = after(bulk, base)
    for workspace in victims(base / "undo", "undo"):
        journal = Journal(workspace)
        journal.recover()
        assert not leftovers(workspace)
        now = without_temp(content(workspace))
        assert now in (old, new), workspace.root.name
        if now == new:
            journal.undo()
        assert without_temp(content(workspace)) == old
        journal.redo()
        assert without_temp(content(workspace)) == new, workspace.root.name


def test_a_killed_redo_is_finished(base: Path) -> None:
    """A redo that was killed goes on at the next start, or never began."""
    old = content(prepare(base / "old-redo"))
    new = after(bulk, base)
    for workspace in victims(base / "redo", "redo"):
        journal = Journal(workspace)
        journal.recover()
        now = without_temp(content(workspace))
        assert now in (old, new), workspace.root.name
        if now == old:
            journal.redo()
        assert without_temp(content(workspace)) == new
        journal.undo()
        assert without_temp(content(workspace)) == old, workspace.root.name


def test_the_group_of_a_living_writer_is_let_be(base: Path) -> None:
    """While a tag run writes, another command neither closes nor undoes its group."""
    workspace = prepare(base / "living")
    open_group = Journal(workspace).begin("Tagging", kind="tag")
    open_group.write(folder_of(workspace) / "a.txt", "tagged")
    other = Journal(workspace)
    assert other.recover() == []
    assert [group.state for group in other.history()] == ["open"]
    bulk_group = other.apply("Meanwhile", [Edit(folder_of(workspace) / "z.txt", None, b"z")])
    assert other.undo().group.id == bulk_group.id
    assert open_group.commit().files == 1
    assert other.undo().group.id == open_group.id
    assert (folder_of(workspace) / "a.txt").read_bytes() == OLD["a.txt"]


def test_added_files_of_a_dead_writer_go_to_the_trash(base: Path) -> None:
    """What a killed import brought in is undone into the trash, not deleted."""
    workspace = prepare(base / "added")
    image = folder_of(workspace) / "x.png"
    image.write_bytes(b"pixels")
    group = Journal(workspace).apply("Import", [Added(image)])
    Journal(workspace).undo()
    assert not image.exists()
    kept = list((workspace.own / "trash" / group.id).rglob("x.png"))
    assert [path.read_bytes() for path in kept] == [b"pixels"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
