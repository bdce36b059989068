"""Batch edits: what each operation does to a caption, and what it leaves alone."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset import batch
from core.dataset.batch_forms import FORMS
from core.dataset.captions import first_line, split, tag_key
from core.dataset.edits import Journal
from core.dataset.operations import (
    Add,
    Case,
    Dedupe,
    Facts,
    Merge,
    MoveTo,
    Operation,
    Remove,
    Rename,
    Replace,
    Sort,
    Spell,
    Split,
    Strip,
    edited,
    is_prose,
    label_of,
)
from core.dataset.patterns import Substitution, TooSlow
from core.problems import UserError
from core.workspace import Workspace, create

PROSE = "A girl with blue eyes stands in a field, smiling at the viewer. Behind her, a river runs to the sea."
TEXTS = st.text(alphabet=st.sampled_from("aB_ ,\n\r\t.ユ\ufeff^") | st.characters(codec="utf-8"), max_size=60)
TAGS = st.lists(st.sampled_from(["a", "b_a", "smile", "long hair", "^_^", "x"]), min_size=1, max_size=3).map(tuple)
OPERATIONS = st.one_of(
    st.builds(Add, TAGS, st.sampled_from(["front", "end"])),
    st.builds(Remove, TAGS),
    st.builds(Rename, st.sampled_from(["a", "B_a"]), st.sampled_from(["x", "b a"])),
    st.builds(Replace, st.sampled_from(["a", ",", "B"]), st.sampled_from(["", "z"])),
    st.builds(MoveTo, st.sampled_from(["a", "x"]), st.integers(1, 4)),
    st.builds(Sort, st.sampled_from(["alphabet", "frequency", "category"]), st.integers(0, 3)),
    st.builds(Dedupe),
    st.builds(Case, st.sampled_from(["lower", "upper", "title"])),
    st.builds(Spell, st.sampled_from(["spaces", "underscores"])),
    st.builds(Split, st.just("a"), TAGS),
    st.builds(Merge, TAGS, st.just("z")),
    st.builds(Strip),
)


@pytest.mark.parametrize(
    ("text", "operation", "after"),
    [
        ("1girl, smile", Add(("rinni",), "front"), "rinni, 1girl, smile"),
        ("1girl,smile", Add(("rinni",), "end"), "1girl,smile,rinni"),
        ("1girl, Rinni", Add(("rinni",), "front"), "1girl, Rinni"),
        ("1girl, smile, solo", Add(("x", "y"), "after", "smile"), "1girl, smile, x, y, solo"),
        ("1girl", Add(("x",), "after", "smile"), "1girl"),
        ("", Add(("x", "y"), "front"), "x, y"),
        ("a, b,", Add(("x",), "end"), "a, b, x,"),
        ("1girl, Long_Hair, smile", Remove(("long hair", "1girl")), "smile"),
        ("1girl,  smile , solo\nmore, smile", Remove(("solo",)), "1girl,  smile \nmore, smile"),
        ("1girl, smile", Rename("smile", "grin"), "1girl, grin"),
        ("grin, 1girl, smile", Rename("smile", "grin"), "grin, 1girl"),
        ("Smile", Rename("smile", "smile"), "smile"),
        ("a cat, cats", Replace("cat", "dog"), "a dog, dogs"),
        ("a Cat", Replace("cat", r"\1", ignore_case=True), r"a \1"),
        ("a, b, c", MoveTo("c", 1), "c, a, b"),
        ("a, b, c", MoveTo("a", 9), "b, c, a"),
        ("rinni, c, B, a", Sort("alphabet", 1), "rinni, a, B, c"),
        ("a, b, A, a", Dedupe(), "a, b"),
        ("A, Bc\nKept As Is", Case("lower"), "a, bc\nKept As Is"),
        ("long_hair, ^_^, o_o", Spell("spaces"), "long hair, ^_^, o_o"),
        ("long hair, x", Spell("underscores"), "long_hair, x"),
        (
            "a, black white dress, b",
            Split("black white dress", ("black dress", "white dress")),
            "a, black dress, white dress, b",
        ),
        ("a, blue, b, eyes", Merge(("blue", "eyes"), "blue eyes"), "a, blue eyes, b"),
        ("a, blue", Merge(("blue", "eyes"), "blue eyes"), "a, blue"),
        ("a\x07,\u200bb,, c,\n\n", Strip(), "a,b, c"),
    ],
)
def test_what_each_operation_does(text: str, operation: Operation, after: str) -> None:
    """The caption as a person expects it."""
    assert edited(text, operation) == after
    assert label_of(operation)


def test_sorting_by_frequency_and_category() -> None:
    """What most captions have comes first; characters come before general tags."""
    facts = Facts({"a": 1, "b": 3, "c": 2}, {"b": "character", "c": "meta"})
    assert edited("a, b, c", Sort("frequency"), facts) == "b, c, a"
    assert edited("c, a, b", Sort("category"), facts) == "b, a, c"


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        (PROSE, True),
        ("rinni, a girl who is looking out of the window of a train", True),
        ("女の子が立っている。海が見える", True),
        ("rinni, 1girl, solo, love live! school idol project, k-on!", False),
        ("looking at viewer", False),
        ("hands on own hips, mr. chips, standing on one leg", False),
        ("", False),
    ],
)
def test_prose_is_told_from_tags(text: str, prose: bool) -> None:
    """Sentences are not taken for tags."""
    assert is_prose(text) == prose


@settings(deadline=None)
@given(OPERATIONS)
def test_prose_is_never_turned_into_tags(operation: Operation) -> None:
    """Only what adds, replaces or strips text touches prose."""
    after = edited(PROSE, operation)
    if isinstance(operation, Add):
        assert PROSE in after
    elif not isinstance(operation, Replace):
        assert after == PROSE


@settings(deadline=None)
@given(TEXTS, OPERATIONS)
def test_further_lines_stay_and_nothing_to_do_is_nothing_done(text: str, operation: Operation) -> None:
    """Doing it a second time changes nothing more; lines below the first are not touched."""
    after = edited(text, operation)
    if isinstance(operation, Replace | Strip):
        return
    assert after.endswith(text[len(first_line(text)) :])
    if not isinstance(operation, Rename | Split | Merge | MoveTo) and is_prose(text) == is_prose(after):
        assert edited(after, operation) == after
    if isinstance(operation, Sort | MoveTo) and not is_prose(text):
        assert sorted(map(tag_key, split(after))) == sorted(map(tag_key, split(text)))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=30) | TEXTS.map(str.encode), min_size=1, max_size=5), OPERATIONS)
def test_apply_then_undo_gives_the_old_bytes(contents: list[bytes], operation: Operation) -> None:
    """Whatever the captions hold, undo restores every byte, and redo does it again."""
    with tempfile.TemporaryDirectory() as place:
        workspace = create(Path(place) / "ws")
        paths = [workspace.root / f"{number}.txt" for number in range(len(contents))]
        for path, data in zip(paths, contents, strict=True):
            path.write_bytes(data)
        made = batch.planned(paths, operation)
        group = batch.apply(workspace, made, "test")
        changed = [path.read_bytes() for path in paths]
        assert sum(a != b for a, b in zip(changed, contents, strict=True)) == len(made.edits) == group.files
        if made.edits:
            Journal(workspace).undo()
            assert [path.read_bytes() for path in paths] == contents
            Journal(workspace).redo()
            assert [path.read_bytes() for path in paths] == changed


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_a_marked_change_reads_as_old_and_new(old: str, new: str) -> None:
    """What is marked as gone and what stays is the old text; the new one likewise."""
    marked = batch.pieces(old, new)

    def flat(text: str) -> str:
        return text.replace("\r\n", "⏎").replace("\n", "⏎")

    assert "".join(text for kind, text in marked if kind != "gone") == flat(new)
    assert "".join(text for kind, text in marked if kind != "new") == flat(old)


def test_a_pattern_replaces_with_its_groups() -> None:
    """Groups are put in, and captions without a match stay."""
    with Substitution(r"(\w+) hair", r"hair (\1)") as substitution:
        assert substitution(["long hair, x", "none\nhere"]) == ["hair (long), x", "none\nhere"]


def test_a_catastrophic_pattern_is_ended_and_told() -> None:
    """A pattern that would run for years is stopped after its limit, at the caption that it hangs on."""
    began = time.monotonic()
    with pytest.raises(TooSlow) as caught, Substitution(r"(a+)+$", "", limit=0.5) as substitution:
        substitution(["fine", "a" * 60 + "!"])
    assert caught.value.at == 1
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("old", "new"), [("(", ""), ("a", r"\3"), ("a", r"\g<x>")])
def test_a_pattern_that_cannot_be_read_is_told(old: str, new: str) -> None:
    """What is wrong with it, before anything starts."""
    with pytest.raises(UserError, match="cannot be read"):
        Substitution(old, new)


def test_a_plan_says_what_it_leaves_alone(workspace: Workspace) -> None:
    """Prose, missing captions and what is no text are counted, not changed; a byte order mark stays."""
    folder = workspace.root
    contents = {"a": b"x, y", "b": b"y", "p": PROSE.encode(), "l": b"caf\xe9", "m": b"\xef\xbb\xbfx, z"}
    for name, data in contents.items():
        (folder / f"{name}.txt").write_bytes(data)
    paths = [folder / f"{name}.txt" for name in (*contents, "none", "a")]
    made = batch.planned(paths, Remove(("x",)))
    assert [edit.path.stem for edit in made.edits] == ["a", "m"]
    assert (made.looked_at, made.prose, made.missing) == (5, 1, 1)
    assert [problem.code for problem in made.problems] == ["KT120"]
    (folder / "a.txt").write_bytes(b"somebody else")
    group = batch.apply(workspace, made, "rinni")
    assert [conflict.path.stem for conflict in group.conflicts] == ["a"]
    assert (folder / "m.txt").read_bytes() == b"\xef\xbb\xbfz"
    assert (folder / "a.txt").read_bytes() == b"somebody else"
    assert group.label == "remove x in rinni"


def test_the_pattern_names_the_caption_that_it_hangs_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is told, and nothing was changed."""
    monkeypatch.setattr(
        "core.dataset.patterns.Substitution.__init__.__kwdefaults__", {"ignore_case": False, "limit": 0.3}
    )
    path = workspace.root / "slow.txt"
    path.write_text("a" * 60 + "!")
    with pytest.raises(UserError, match=r"slow\.txt"):
        batch.planned([path], Replace(r"(a+)+$", "", regex=True))


def test_every_form_makes_its_operation() -> None:
    """What is typed in the app becomes the operation that its title names; nothing typed is told."""
    typed = {"position": "2", "how many of the first tags stay": "1"}
    for form in FORMS:
        assert label_of(form.make([typed.get(name, "x") for name in form.fields]))
        if form.fields and not form.id.startswith("sort"):
            with pytest.raises(UserError):
                form.make([""] * len(form.fields))
