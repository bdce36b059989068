"""The filter line: what it lets pass, where it is wrong, and that what is written is what was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dataset import saved_filters
from core.dataset.filter_match import Sources
from core.dataset.filter_tree import And, Comparison, Node, Not, Number, OfTag, Or, Pattern, Tag, Text, Word
from core.dataset.filters import RATINGS, STATES, FilterError, parse, select, write
from core.dataset.index import Index, read_index
from core.problems import UserError
from core.workspace import Workspace
from tests.core.index_kit import draw

IMAGES = {
    "rinni_001.png": ("rinni, 1girl, blue eyes, smile", (512, 768)),
    "rinni_002.png": ("rinni, 1girl, light_smile, :d, solo", (768, 512)),
    "night_003.jpg": (None, (1024, 1024)),
    "prose_004.png": ("A girl stands, in the RAIN.\nSecond line with a grin\n", (512, 512)),
    "paren_005.png": ("rinni \\(vtuber\\), rinni_(vtuber), Solo", (600, 400)),
}
LETTERS = {"rinni_001.png": "A", "rinni_002.png": "B", "night_003.jpg": "C", "prose_004.png": "D", "paren_005.png": "E"}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    workspace = Workspace(tmp_path_factory.mktemp("filters"))
    for name, (caption, size) in IMAGES.items():
        draw(workspace.train_data / "rinni" / "10_rinni" / name, caption, size)
    return read_index(workspace, "rinni")


def found(index: Index, query: str, sources: Sources | None = None) -> str:
    return "".join(sorted(LETTERS[index.names[number]] for number in select(index, query, sources)))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "ABCDE"),
        ("   ", "ABCDE"),
        ("rinni", "ABE"),
        ("NIGHT", "C"),
        ("smile", "AB"),
        ('smile "OR"', ""),
        ('rinni ")"', "E"),
        ('"(" OR night', "CE"),
        ("tag:smile", "A"),
        ('tag:"blue eyes"', "A"),
        ("tag:blue_eyes", "A"),
        ("TAG:Blue_Eyes", "A"),
        ('"blue eyes"', "A"),
        ("tag:*smile", "AB"),
        ("tag:?girl", "AB"),
        ('tag:"\\*smile"', ""),
        ("rinni solo", "BE"),
        ("rinni AND NOT solo", "A"),
        ("rinni and not solo", "A"),
        ("rinni -solo", "A"),
        ("rinni -(solo OR smile)", ""),
        ("-tag:rinni", "CDE"),
        ("missing:rinni", "CDE"),
        ("solo OR night", "BCE"),
        ("(solo OR night) rinni", "BE"),
        ("NOT (solo OR night)", "AD"),
        ("NOT(solo OR night)", "AD"),
        ("name:*_00?.png", "ABDE"),
        ("path:10_rinni/night", "C"),
        ("caption:girl", "ABD"),
        ("caption:*grin*", "D"),
        ("grin", "D"),
        ("caption:stands,", "D"),
        ("caption:girl*rain", "D"),
        ("caption:rain*girl", ""),
        ("tags:4", "A"),
        ("tags:>=4", "AB"),
        ("tags:!=4", "BCDE"),
        ("tags:0", "C"),
        ("tags:<.5", "C"),
        ("chars:>=30", "ABDE"),
        ("w:<768", "ADE"),
        ("h:512", "BD"),
        ("ratio:>1.2", "BE"),
        ("ratio:0.667", "A"),
        ("ratio:1", "CD"),
        ("pos(rinni):1", "AB"),
        ("pos(solo):>2", "BE"),
        ('pos("blue eyes"):3', "A"),
        ("pos(rinni_(vtuber)):2", "E"),
        ("is:untagged", "C"),
        ("is:broken", ""),
        ("tag::d", "B"),
        (":d", "B"),
        ('"NOT"', ""),
        ("rinni_(vtuber)", "E"),
        ("tag:rinni_(vtuber)", "E"),
        ("tag:rinni_\\(vtuber\\)", "E"),
        ('tag:"rinni \\\\(vtuber\\\\)"', "E"),
        ("tokens:0", "C"),
        ("tokens:<20 tokens:>3", "ABDE"),
    ],
)
def test_what_passes(index: Index, query: str, expected: str) -> None:
    """Each query finds these images of the five."""
    assert found(index, query) == expected


def test_tokens_are_those_of_the_whole_first_line(index: Index) -> None:
    """What is added up by tags is what the counter says of the line."""
    from core.dataset.captions import first_line
    from core.dataset.tokens import count_tokens

    for number, name in enumerate(index.names):
        tokens = count_tokens(first_line(index.caption(number) or ""))
        assert LETTERS[name] in found(index, f"tokens:{tokens}")


def test_what_the_files_do_not_say_is_handed_in(index: Index) -> None:
    """Scores, ratings, buckets, marks, duplicates and saved filters."""
    place = {LETTERS[name]: number for number, name in enumerate(index.names)}
    scores = np.full(len(index), np.nan, np.float32)
    scores[place["A"]], scores[place["B"]] = 0.9, 0.3
    ratings = np.full(len(index), -1, np.int8)
    ratings[place["D"]] = RATINGS.index("explicit")
    sources = Sources(
        reviewed=lambda: [place["A"]],
        marked=lambda: [place["B"], place["C"]],
        changed=lambda: [place["D"]],
        score=lambda tag, stop: scores if tag == "light smile" else None,
        ratings=lambda stop: ratings,
        duplicates=lambda stop: [place["C"], place["E"]],
        bucket=lambda: lambda size: (512, 768) if size == (512, 768) else None,
        saved={"to do": "-is:reviewed", "wrong": "tag:", "round": "saved:round"},
    )
    for query, expected in {
        "score(light_smile):<0.5": "B",
        'score("light smile"):>=.9': "A",
        "-score(light_smile):<0.5": "ACDE",
        "rating:explicit": "D",
        "rating:E": "D",
        "is:reviewed OR is:marked": "ABC",
        "is:changed": "D",
        "dup:": "CE",
        "bucket:512x768": "A",
        'saved:"to do" rinni': "BE",
        "saved:TO*": "",
    }.items():
        if query == "saved:TO*":
            with pytest.raises(FilterError, match="There is no saved filter"):
                found(index, query, sources)
        else:
            assert found(index, query, sources) == expected, query
    for query in ("saved:wrong", "saved:round", "score(nobody):>0.5", "score(*):>0.5"):
        with pytest.raises(FilterError) as caught:
            found(index, query, sources)
        assert caught.value.column == 1


@pytest.mark.parametrize("query", ["is:marked", "score(x):>1", "rating:general", "bucket:1x1", "dup:", "is:changed"])
def test_what_is_not_known_here_is_said(index: Index, query: str) -> None:
    """No empty list that looks like an answer: a sentence, the column and what helps."""
    with pytest.raises(FilterError) as caught:
        select(index, f"rinni {query}")
    assert caught.value.column == 7 and caught.value.hint


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("rinni nope:x", 7),
        ("is:nothing", 1),
        ("rating:nothing", 1),
        ('tag:"blue', 5),
        ("(solo", 1),
        ("solo )", 6),
        ("solo OR", 8),
        ("NOT", 4),
        ("AND solo", 1),
        ("solo OR AND", 9),
        ("tags:many", 6),
        ("w:1x", 3),
        ("bucket:512", 8),
        ("tag:", 1),
        ("score(smile)", 13),
        ("score(smile", 6),
        ("score():1", 1),
        ("pos(a):b", 8),
        ("dup:x", 5),
        ("(" * 200, 101),
    ],
)
def test_errors_point_at_the_column(query: str, column: int) -> None:
    """The sentence says where."""
    with pytest.raises(FilterError) as caught:
        parse(query)
    assert caught.value.column == column and f"column {column}" in str(caught.value)


def test_a_mistyped_field_is_told_the_right_one() -> None:
    """`tok:` and `captoin:` are no fields."""
    with pytest.raises(FilterError, match="Did you mean caption:"):
        parse("captoin:x")


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip() != "")
patterns = words.map(Pattern.of) | st.sampled_from([Pattern("a*b"), Pattern("?x"), Pattern("\\*"), Pattern("*")])
comparisons = st.builds(
    Comparison,
    st.sampled_from(["<", "<=", ">", ">=", "=", "!="]),
    st.integers(0, 9999).map(float) | st.integers(0, 999).map(lambda number: number / 100),
)
leaves = st.one_of(
    st.builds(Text, st.sampled_from(["", "name", "path", "caption"]), patterns),
    st.builds(Tag, patterns, st.booleans()),
    st.builds(Number, st.sampled_from(Number.FIELDS), comparisons),
    st.builds(OfTag, st.sampled_from(OfTag.FIELDS), patterns, comparisons),
    st.builds(Word, st.just("is"), st.sampled_from(STATES)),
    st.builds(Word, st.just("rating"), st.sampled_from(RATINGS)),
    st.builds(Word, st.just("saved"), words),
    st.just(Word("dup", "")),
    st.just(Word("bucket", "512x768")),
)


def _joined(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def parts(kind: type) -> st.SearchStrategy[tuple[Node, ...]]:
        return st.lists(children.filter(lambda node: not isinstance(node, kind)), min_size=2, max_size=4).map(tuple)

    return st.one_of(st.builds(And, parts(And)), st.builds(Or, parts(Or)), st.builds(Not, children))


@given(st.recursive(leaves, _joined, max_leaves=12))
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_as_the_same_tree(node: Node) -> None:
    """Quotes, escapes, parentheses, operators as words: nothing changes on the way to text and back."""
    assert parse(write(node)) == node


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused_at_a_column(text: str) -> None:
    """Whatever is typed or pasted: a tree, or a sentence with a column in the line."""
    try:
        node = parse(text)
    except FilterError as error:
        assert 1 <= error.column <= len(text) + 1
    else:
        assert parse(write(node)) == node


@given(words, words)
@settings(max_examples=200, deadline=None)
def test_a_word_finds_what_has_it(word: str, around: str) -> None:
    """Whatever the word: in the text that holds it, not in one without; letters of both cases."""
    from core.dataset.filter_text import finder

    find = finder(Pattern.of(word))
    assert find((around + word + around).casefold())
    assert find(around.casefold()) == (word.casefold() in around.casefold())


def test_filters_are_saved_under_names(tmp_path: Path) -> None:
    """Kept in the workspace; a name is the same in either case; a query that cannot be read is not kept."""
    workspace = Workspace(tmp_path)
    assert saved_filters.load(workspace) == {}
    saved_filters.save(workspace, " to  do ", "is:untagged OR tags:<5")
    saved_filters.save(workspace, "TO DO", "is:untagged")
    saved_filters.save(workspace, "faces", 'tag:"close up"')
    assert saved_filters.load(workspace) == {"TO DO": "is:untagged", "faces": 'tag:"close up"'}
    with pytest.raises(FilterError):
        saved_filters.save(workspace, "bad", "tag:")
    with pytest.raises(UserError, match="needs a name"):
        saved_filters.save(workspace, "a\x1bb", "smile")
    saved_filters.forget(workspace, "Faces")
    assert list(saved_filters.load(workspace)) == ["TO DO"]
    with pytest.raises(UserError, match="no saved filter"):
        saved_filters.forget(workspace, "faces")
    saved_filters.filters_file(workspace).write_text('{"v": 99, "filters": {}}')
    with pytest.raises(UserError, match="newer"):
        saved_filters.save(workspace, "x", "smile")
