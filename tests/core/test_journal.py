"""Undo and redo on disk."""

from __future__ import annotations

import errno
import itertools
import json
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset.edits import Added, Edit, Journal, Move
from core.dataset.replacing import Replacer
from core.problems import UserError
from core.workspace import Workspace, create


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    path = workspace.train_data / "rinni" / "10_rinni"
    path.mkdir(parents=True)
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(workspace: Workspace, group_id: str) -> list[dict[str, object]]:
    text = (workspace.own / "journal" / f"{group_id}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.rstrip("\n").split("\n")]


def test_one_action_is_undone_and_redone_in_one_step(workspace: Workspace, folder: Path) -> None:
    """u takes an edit of several captions back, U brings it again."""
    (folder / "a.txt").write_bytes(b"1girl\r\n")
    journal = Journal(workspace)
    group = journal.apply(
        "Add smile",
        [
            Edit(folder / "a.txt", b"1girl\r\n", b"1girl, smile\r\n"),
            Edit(folder / "b.txt", None, b"smile"),
            Edit(folder / "c.txt", None, None),
        ],
    )
    assert (group.files, group.state, group.label, group.conflicts) == (2, "done", "Add smile", ())
    assert files_in(folder) == {"a.txt": b"1girl, smile\r\n", "b.txt": b"smile"}
    result = journal.undo()
    assert result.group.state == "undone"
    assert sorted(path.name for path in result.changed) == ["a.txt", "b.txt"]
    assert files_in(folder) == {"a.txt": b"1girl\r\n"}
    assert journal.redo().group.id == group.id
    assert files_in(folder) == {"a.txt": b"1girl, smile\r\n", "b.txt": b"smile"}


def test_nothing_to_undo_or_redo_is_said(workspace: Workspace) -> None:
    """An empty history answers with a sentence."""
    journal = Journal(workspace)
    with pytest.raises(UserError, match="Nothing to undo"):
        journal.undo()
    with pytest.raises(UserError, match="Nothing to redo"):
        journal.redo()
    assert journal.history() == []
    assert journal.recover() == []
    assert journal.apply("Nothing", []).id == ""
    assert journal.history() == []


def test_history_lists_the_newest_first_and_undo_walks_back(workspace: Workspace, folder: Path) -> None:
    """Three edits, two undos, one redo: each takes the neighbour."""
    journal = Journal(workspace)
    path = folder / "a.txt"
    contents: list[bytes | None] = [None, b"1", b"2", b"3"]
    for before, after in itertools.pairwise(contents):
        journal.apply(f"to {after!r}", [Edit(path, before, after)])
    assert [group.label for group in journal.history()] == ["to b'3'", "to b'2'", "to b'1'"]
    assert [group.label for group in journal.history(2)] == ["to b'3'", "to b'2'"]
    ids = [group.id for group in journal.history()]
    assert ids == sorted(ids, reverse=True)
    journal.undo()
    journal.undo()
    assert path.read_bytes() == b"1"
    assert [group.state for group in journal.history()] == ["undone", "undone", "done"]
    journal.redo()
    assert path.read_bytes() == b"2"
    journal.redo()
    assert path.read_bytes() == b"3"
    with pytest.raises(UserError):
        journal.redo()


def test_a_new_action_after_an_undo_ends_the_redo(workspace: Workspace, folder: Path) -> None:
    """What was undone before a new edit does not come back by U."""
    journal = Journal(workspace)
    journal.apply("one", [Edit(folder / "a.txt", None, b"1")])
    journal.undo()
    journal.apply("two", [Edit(folder / "b.txt", None, b"2")])
    with pytest.raises(UserError, match="Nothing to redo"):
        journal.redo()
    journal.undo()
    assert journal.redo().group.label == "two"
    assert files_in(folder) == {"b.txt": b"2"}


def test_redo_works_after_the_clock_was_set_back(workspace: Workspace, folder: Path) -> None:
    """The machine's clock was a year ahead when the caption was edited: what is undone now can still be redone."""
    journal = Journal(workspace)
    for name in "ab":
        group = journal.apply(name, [Edit(folder / f"{name}.txt", None, b"smile")])
    path = workspace.own / "journal" / f"{group.id}.jsonl"
    later = f"{int(group.id[:4]) + 1}{group.id[4:]}"
    head, *rest = path.read_text("utf-8").splitlines(keepends=True)
    facts = json.loads(head)
    head = json.dumps(facts | {"id": later, "time": facts["time"] + 366 * 86400}) + "\n"
    path.with_name(f"{later}.jsonl").write_text(head + "".join(rest), "utf-8")
    path.unlink()
    assert [journal.undo().group.label for _ in "ab"] == ["b", "a"]
    assert [journal.redo().group.label for _ in "ab"] == ["a", "b"]


def test_a_journal_that_came_with_the_workspace_changes_nothing_outside(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    """A shared workspace holds an unfinished group that replaces a shell's start file: it stays, also behind a link."""
    home = tmp_path / "home"
    home.mkdir()
    (folder / "b.txt").symlink_to(home / ".profile")
    journal = Journal(workspace)
    for target in (home / ".bashrc", folder / "b.txt", folder / ".." / ".." / ".." / ".." / "home" / "run.sh"):
        group = journal.apply("harmless", [Edit(folder / "a.txt", None, b"evil")])
        journal.undo()
        path = workspace.own / "journal" / f"{group.id}.jsonl"
        name = json.dumps(str(folder.relative_to(workspace.root) / "a.txt"))
        kept = path.read_text("utf-8").splitlines(keepends=True)[:3]  # head, edit, ready: the kill came then
        path.with_name(f"{group.id}.open.jsonl").write_text(
            "".join(kept).replace(name, json.dumps(str(target))), "utf-8"
        )
        path.unlink()
        assert journal.recover() == []
        assert list(home.iterdir()) == []
        path.with_name(f"{group.id}.open.jsonl").unlink()
        path.write_text("".join(kept).replace(name, json.dumps(str(target))) + '{"commit": 1.0, "files": 1}\n', "utf-8")
        with pytest.raises(UserError, match="no file of this workspace"):
            journal.undo()
        path.unlink()


def test_a_file_changed_by_somebody_else_is_refused_and_shown(workspace: Workspace, folder: Path) -> None:
    """Undo leaves a caption that another editor changed, says so with both versions, and undoes the rest."""
    journal = Journal(workspace)
    journal.apply("two files", [Edit(folder / name, None, b"ours") for name in ("a.txt", "b.txt")])
    (folder / "a.txt").write_bytes(b"theirs")
    result = journal.undo()
    assert files_in(folder) == {"a.txt": b"theirs"}
    (conflict,) = result.conflicts
    assert (conflict.path.name, conflict.ours, conflict.theirs) == ("a.txt", None, b"theirs")
    assert "somebody else" in conflict.reason


def test_an_edit_of_a_file_that_changed_meanwhile_is_refused(workspace: Workspace, folder: Path) -> None:
    """A bulk edit goes on around the one file that is not as it was when the edit was made."""
    (folder / "a.txt").write_bytes(b"newer")
    journal = Journal(workspace)
    group = journal.apply("bulk", [Edit(folder / "a.txt", b"old", b"x"), Edit(folder / "b.txt", None, b"x")])
    assert group.files == 1
    assert [(one.path.name, one.ours, one.theirs) for one in group.conflicts] == [("a.txt", b"x", b"newer")]
    assert files_in(folder) == {"a.txt": b"newer", "b.txt": b"x"}
    assert journal.undo().conflicts == ()
    assert files_in(folder) == {"a.txt": b"newer"}
    only = journal.apply("bulk", [Edit(folder / "new" / "a.txt", b"old", b"x")])
    assert (only.id, only.files, len(only.conflicts)) == ("", 0, 1)


def test_texts_are_readable_in_the_journal(workspace: Workspace, folder: Path) -> None:
    """Somebody without this program finds the old caption in the journal as text."""
    (folder / "a.txt").write_bytes("ユキ, \u2028 smile".encode())
    (folder / "b.txt").write_bytes(b"\xff\x00")
    journal = Journal(workspace)
    group = journal.apply(
        "x", [Edit(folder / "a.txt", "ユキ, \u2028 smile".encode(), b"1"), Edit(folder / "b.txt", b"\xff\x00", b"1")]
    )
    head, first, second, ready, commit = lines(workspace, group.id)
    assert (head["v"], head["id"], head["label"]) == (1, group.id, "x")
    assert head["pid"] == os.getpid()
    assert first == {
        "op": "edit",
        "path": "train_data/rinni/10_rinni/a.txt",
        "before": "ユキ, \u2028 smile",
        "after": "1",
    }
    assert second["before_base64"] == "/wA="
    assert "ready" in ready
    assert commit["files"] == 2
    journal.undo()
    assert (folder / "b.txt").read_bytes() == b"\xff\x00"
    assert "undone" in lines(workspace, group.id)[-1]


def test_moves_are_renamed_back_and_never_overwrite(workspace: Workspace, folder: Path) -> None:
    """A moved image comes back; one whose place is taken is refused."""
    (folder / "a.png").write_bytes(b"a")
    (folder / "b.png").write_bytes(b"b")
    other = folder.parent / "5_other"
    journal = Journal(workspace)
    group = journal.apply("move", [Move(folder / f"{name}.png", other / f"{name}.png") for name in "ab"], kind="move")
    assert files_in(folder.parent) == {"5_other/a.png": b"a", "5_other/b.png": b"b"}
    (folder / "b.png").write_bytes(b"new")
    result = journal.undo(group.id[:20])
    assert files_in(folder.parent) == {"10_rinni/a.png": b"a", "10_rinni/b.png": b"new", "5_other/b.png": b"b"}
    assert len(result.conflicts) == 1
    (folder / "b.png").unlink()
    with pytest.raises(UserError, match="undone already"):
        journal.undo(group.id)
    with pytest.raises(UserError, match="no action"):
        journal.undo("2020")


def test_what_was_added_and_changed_since_stays(workspace: Workspace, folder: Path) -> None:
    """Undo of an import takes untouched files to the trash and leaves the one that was worked on."""
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(name.encode())
    journal = Journal(workspace)
    journal.apply("import", [Added.of(folder / "a.png"), Added.of(folder / "b.png")])
    (folder / "b.png").write_bytes(b"painted over")
    os.utime(folder / "a.png", ns=(1, 1))
    result = journal.undo()
    assert files_in(folder) == {"b.png": b"painted over"}
    assert [conflict.path.name for conflict in result.conflicts] == ["b.png"]
    journal.redo()
    assert files_in(folder) == {"a.png": b"a.png", "b.png": b"painted over"}


def test_a_stream_is_undone_in_one_step(workspace: Workspace, folder: Path) -> None:
    """A tag run is one action, also when it wrote a file twice; a run that wrote nothing leaves no trace."""
    (folder / "a.txt").write_bytes(b"old")
    journal = Journal(workspace)
    with journal.begin("Tag rinni", kind="tag") as group:
        assert group.write(folder / "a.txt", "once")
        assert group.write(folder / "a.txt", "twice")
        assert not group.write(folder / "a.txt", "twice")
        assert group.write(folder / "b.txt", "new")
        assert [known.state for known in journal.history()] == ["open"]
    assert [(known.kind, known.files, known.state) for known in journal.history()] == [("tag", 2, "done")]
    journal.undo()
    assert files_in(folder) == {"a.txt": b"old"}
    journal.redo()
    assert files_in(folder) == {"a.txt": b"twice", "b.txt": b"new"}
    with journal.begin("Nothing") as group:
        group.folder(folder.parent / "5_empty")
    assert group.commit().id == ""
    assert len(journal.history()) == 1
    assert not (folder.parent / "5_empty").exists()


def test_a_stream_that_fails_stays_undoable(workspace: Workspace, folder: Path) -> None:
    """An import that stops half-way keeps what it did as an action."""
    journal = Journal(workspace)
    with pytest.raises(RuntimeError), journal.begin("Tag") as group:
        group.write(folder / "a.txt", "tagged")
        raise RuntimeError
    assert [known.state for known in journal.history()] == ["done"]
    journal.undo()
    assert files_in(folder) == {}


def test_a_full_disk_changes_nothing_and_says_so(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk fills up in the middle of a bulk edit, every caption is as it was before."""
    before = {f"{number}.txt": b"old" for number in range(5)}
    for name, data in before.items():
        (folder / name).write_bytes(data)
    real = Replacer._write
    left = 3

    def filling(replacer: Replacer, name: str, data: bytes, mode: int | None) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(replacer, name, data, mode)

    monkeypatch.setattr(Replacer, "_write", filling)
    journal = Journal(workspace)
    with pytest.raises(UserError, match=r"Nothing was changed") as caught:
        journal.apply("bulk", [Edit(folder / name, data, b"new") for name, data in before.items()])
    assert "disk is full" in str(caught.value)
    assert files_in(folder) == before
    assert journal.history() == []


def test_a_failed_undo_can_be_tried_again(workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write error during undo is told, and the next undo takes up the same action."""
    journal = Journal(workspace)
    journal.apply("new", [Edit(folder / "a.txt", None, b"1")])
    journal.apply("edit", [Edit(folder / "a.txt", b"1", b"2")])
    with monkeypatch.context() as patch:

        def failing(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(Replacer, "_write", failing)
        result = journal.undo()
    assert [conflict.is_error for conflict in result.conflicts] == [True]
    assert (folder / "a.txt").read_bytes() == b"2"
    assert journal.undo().group.label == "edit"
    assert (folder / "a.txt").read_bytes() == b"1"


def test_a_journal_of_a_newer_version_is_shown_and_not_touched(workspace: Workspace, folder: Path) -> None:
    """History lists it; undo says what to do."""
    journal = Journal(workspace)
    group = journal.apply("future", [Edit(folder / "a.txt", None, b"1")])
    path = workspace.own / "journal" / f"{group.id}.jsonl"
    path.write_text(path.read_text("utf-8").replace('"v": 1', '"v": 2', 1), "utf-8")
    assert [known.label for known in journal.history()] == ["future"]
    with pytest.raises(UserError, match="newer kohya-tui"):
        journal.undo()
    assert (folder / "a.txt").exists()


def test_damaged_and_foreign_files_in_the_journal_do_no_harm(workspace: Workspace, folder: Path) -> None:
    """A stray file in the journal folder does not stop the history or an edit."""
    journal = Journal(workspace)
    journal.folder.mkdir(parents=True)
    (journal.folder / "notes.jsonl").write_text("hello")
    (journal.folder / "20200101T000000-000000.jsonl").write_bytes(b"\x00\xff\n")
    (journal.folder / "20200101T000000-000001.open.jsonl").write_bytes(b"\x00\xff\nmore\n")
    (journal.folder / "20200101T000000-000002.open.jsonl").write_bytes(b'{"v": 1, "id"')
    group = journal.apply("fine", [Edit(folder / "a.txt", None, b"1")])
    assert [known.id for known in journal.history()] == [group.id]
    journal.undo()
    assert not (journal.folder / "20200101T000000-000002.open.jsonl").exists()
    assert (journal.folder / "20200101T000000-000001.open.jsonl").exists()


def test_history_of_a_huge_group_reads_only_its_ends(workspace: Workspace, folder: Path) -> None:
    """A group of many megabytes is listed without reading it."""
    journal = Journal(workspace)
    group = journal.apply("huge", [Edit(folder / f"{n}.txt", None, b"x" * 200_000) for n in range(20)])
    path = workspace.own / "journal" / f"{group.id}.jsonl"
    with path.open("r+b") as stream:  # the middle is unreadable now; whoever read it would stumble
        stream.seek(100_000)
        stream.write(b"\xff" * 1_000_000)
    assert [(known.files, known.state) for known in journal.history()] == [(20, "done")]
    with pytest.raises(UserError, match="cannot be read"):
        journal.undo()


def test_links_are_written_through(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    """A caption that is a symbolic link stays one; its target is edited and restored."""
    target = tmp_path / "shared.txt"
    target.write_bytes(b"old")
    (folder / "a.txt").symlink_to(target)
    journal = Journal(workspace)
    journal.apply("edit", [Edit(folder / "a.txt", b"old", b"new")])
    assert (folder / "a.txt").is_symlink()
    assert target.read_bytes() == b"new"
    journal.undo()
    assert target.read_bytes() == b"old"


def test_two_writers_at_once_lose_nothing(workspace: Workspace, folder: Path) -> None:
    """The app and a command edit at the same time: every edit is in the history, and all undo to nothing."""

    def work(name: str) -> None:
        journal = Journal(workspace)
        for number in range(15):
            journal.apply(f"{name}{number}", [Edit(folder / f"{name}{number}.txt", None, b"x")])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal = Journal(workspace)
    assert len(files_in(folder)) == len(journal.history()) == 45
    for _ in range(45):
        journal.undo()
    assert files_in(folder) == {}


NAMES = st.sampled_from(["a.txt", "b.txt", "ü [red].txt", "line\nbreak.txt"])
CONTENTS = st.none() | st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))


@settings(max_examples=30, deadline=None)
@given(
    start=st.dictionaries(NAMES, st.binary(max_size=20)), actions=st.lists(st.dictionaries(NAMES, CONTENTS), max_size=4)
)
def test_apply_then_undo_restores_the_bytes(start: dict[str, bytes], actions: list[dict[str, bytes | None]]) -> None:
    """Any edits of any bytes, undone one by one, leave every file as it was; redone, as they were made."""
    with tempfile.TemporaryDirectory() as base:
        workspace = create(Path(base) / "w")
        folder = workspace.train_data
        for name, data in start.items():
            (folder / name).write_bytes(data)
        journal = Journal(workspace)
        states = [files_in(folder)]
        for action in actions:
            now = files_in(folder)
            group = journal.apply("any", [Edit(folder / name, now.get(name), data) for name, data in action.items()])
            if group.id:
                states.append(files_in(folder))
        for state in reversed(states[:-1]):
            assert journal.undo().conflicts == ()
            assert files_in(folder) == state
        for state in states[1:]:
            journal.redo()
            assert files_in(folder) == state


def reopened(workspace: Workspace, group_id: str, marks: int) -> None:
    """The journal file of a group as a kill would leave it: open, its last `marks` lines never written."""
    path = workspace.own / "journal" / f"{group_id}.jsonl"
    kept = path.read_bytes().splitlines(keepends=True)[:-marks]
    path.with_name(f"{group_id}.open.jsonl").write_bytes(b"".join(kept))
    path.unlink()


def test_an_undo_that_was_all_but_done_is_finished(workspace: Workspace, folder: Path) -> None:
    """Files that were written twice and then moved meet no false conflict when a killed undo goes on."""
    (folder / "a.txt").write_bytes(b"old")
    journal = Journal(workspace)
    with journal.begin("Tag and move") as group:
        group.write(folder / "a.txt", "once")
        group.write(folder / "a.txt", "twice")
        group.move(folder / "a.txt", folder.parent / "5_x" / "a.txt")
        group.write(folder / "b.txt", "once")
        group.write(folder / "b.txt", "twice")
    for files in ({"10_rinni/a.txt": b"old"}, {"10_rinni/b.txt": b"twice", "5_x/a.txt": b"twice"}):
        result = journal.undo() if "10_rinni/a.txt" in files else journal.redo()
        assert files_in(folder.parent) == files
        reopened(workspace, result.group.id, 1)
        (recovered,) = journal.recover()
        assert recovered.state == result.group.state
        assert files_in(folder.parent) == files


def test_a_bulk_edit_cut_off_before_its_last_mark_is_whole(workspace: Workspace, folder: Path) -> None:
    """Everything was written but the commit: the next start finds it done, with what was refused still refused."""
    (folder / "a.txt").write_bytes(b"theirs")
    journal = Journal(workspace)
    edits = [Edit(folder / "a.txt", b"ours", b"x"), Edit(folder / "b.txt", None, b"x")]
    group = journal.apply("bulk", edits)
    reopened(workspace, group.id, 1)
    (recovered,) = journal.recover()
    assert (recovered.files, recovered.state) == (1, "done")
    reopened(workspace, group.id, 2)
    (recovered,) = journal.recover()
    assert [conflict.theirs for conflict in recovered.conflicts] == [b"theirs"]
    assert journal.undo().conflicts == ()
    assert files_in(folder) == {"a.txt": b"theirs"}


def test_a_journal_that_cannot_be_written_stops_the_edit_first(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for the journal already: no caption is touched, and no half line stays behind."""
    (folder / "a.txt").write_bytes(b"old")
    journal = Journal(workspace)
    group = journal.begin("Tag")
    group.write(folder / "a.txt", "first")
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if b"second" in bytes(data):
            real(descriptor, bytes(data)[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UserError, match="No space left"):
            group.write(folder / "a.txt", "second")
        with pytest.raises(UserError, match="No space left"):
            journal.apply("second", [Edit(folder / "b.txt", None, b"second")])
    assert files_in(folder) == {"a.txt": b"first"}
    group.write(folder / "a.txt", "third")
    group.commit()
    assert [known.label for known in journal.history()] == ["Tag"]
    assert journal.undo().conflicts == ()
    assert files_in(folder) == {"a.txt": b"old"}


def test_a_stream_refuses_what_it_cannot_move(workspace: Workspace, folder: Path) -> None:
    """A vanished source and a taken name are told; the group goes on."""
    (folder / "a.txt").write_bytes(b"a")
    (folder / "b.txt").write_bytes(b"b")
    with Journal(workspace).begin("Move") as group:
        with pytest.raises(UserError, match="exists already"):
            group.move(folder / "a.txt", folder / "b.txt")
        with pytest.raises(UserError, match="is gone"):
            group.move(folder / "c.txt", folder / "d.txt")
        with pytest.raises(UserError, match="Cannot write"):
            group.added(folder / "nowhere.png")
        with pytest.raises(UserError, match="Cannot read"):
            group.write(folder, "a folder is no caption")
    assert Journal(workspace).history() == []


def test_a_workspace_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Where .kohya-tui/ cannot be made nothing is edited, and the sentence names the place."""
    (tmp_path / ".kohya-tui").touch()
    (tmp_path / "a.txt").touch()
    journal = Journal(Workspace(tmp_path))
    with pytest.raises(UserError, match="Cannot write"):
        journal.apply("edit", [Edit(tmp_path / "a.txt", b"", b"new")])
    with pytest.raises(UserError, match="Cannot write"):
        journal.begin("tag")
    assert (tmp_path / "a.txt").read_bytes() == b""
    assert journal.history() == []


def many(folder: Path, count: int = 1200) -> tuple[list[Edit], dict[str, bytes]]:
    """Edits of so many files, and what is in them."""
    for number in range(count):
        (folder / f"{number:04d}.txt").write_bytes(b"old %d" % number)
    edits = [Edit(folder / f"{number:04d}.txt", b"old %d" % number, b"new %d" % number) for number in range(count)]
    return edits, files_in(folder)


def test_a_bulk_edit_that_is_stopped_leaves_nothing_behind(workspace: Workspace, folder: Path) -> None:
    """Closed while it is recorded, or half done: every file is as it was, and there is nothing to undo."""
    edits, before = many(folder)
    journal = Journal(workspace)
    for steps_seen in (1, 2, 4, 5):
        steps = journal.applying("add", edits)
        seen = [next(steps) for _ in range(steps_seen)]
        if steps_seen == 5:
            assert seen[-1].done == 500 and seen[-1].total == 1200 and files_in(folder) != before
        steps.close()
        assert files_in(folder) == before
        assert journal.history() == [] and journal.next_undo() is None
    assert not [path for path in folder.iterdir() if path.name not in before]


def test_an_undo_that_is_stopped_is_not_done(workspace: Workspace, folder: Path) -> None:
    """Half way back and closed: the edit is there whole again, done, and can be undone; a redo as well."""
    edits, before = many(folder)
    journal = Journal(workspace)
    group = journal.apply("add", edits)
    after = files_in(folder)
    steps = journal.undoing()
    assert [next(steps).done for _ in range(2)] == [0, 500] and files_in(folder) != after
    steps.close()
    assert files_in(folder) == after
    assert [(each.id, each.state) for each in journal.history()] == [(group.id, "done")]
    journal.undo()
    assert files_in(folder) == before
    steps = journal.redoing()
    next(steps), next(steps)
    steps.close()
    assert files_in(folder) == before and journal.history()[0].state == "undone"
    journal.redo()
    assert files_in(folder) == after


def test_an_interrupt_in_the_midst_of_a_file_takes_all_back(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C just when a file took its new content: it gets the old one too."""
    edits, before = many(folder, 20)
    replace, calls = Replacer.replace, itertools.count()

    def interrupted(self: Replacer, path: Path, old: bytes | None, new: bytes | None) -> bool | None:
        outcome = replace(self, path, old, new)
        if next(calls) == 9:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(Replacer, "replace", interrupted)
    journal = Journal(workspace)
    with pytest.raises(KeyboardInterrupt):
        journal.apply("add", edits)
    assert files_in(folder) == before and journal.history() == []
    group = journal.apply("add", edits)
    calls = itertools.count()
    with pytest.raises(KeyboardInterrupt):
        journal.undo()
    assert journal.history()[0].id == group.id and journal.history()[0].state == "done"
    assert (folder / "0015.txt").read_bytes() == b"new 15"
