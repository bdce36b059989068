"""Label files: every form that authors write, and what is said of a bad one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.problems import UserError
from core.tagging.labels import Category, read_labels


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    """PixAI's file has other columns than WD's, a list in quotes behind them, and a byte order mark."""
    text = (
        "\ufeffid,tag_id,name,category,count,ips\r\n"
        '0,1,long_hair,0,9,"[]"\r\n'
        '1,2,hatsune_miku,4,8,"[""vocaloid"", ""project_sekai""]"\r\n'
    )
    labels = read_labels(written(tmp_path, "selected_tags.csv", text), 2)
    assert labels.names == ("long_hair", "hatsune_miku")
    assert labels.categories == (Category.GENERAL, Category.CHARACTER) and labels.thresholds is None


def test_quotes_and_commas_in_a_tag_are_part_of_it(tmp_path: Path) -> None:
    """A tag that contains a comma or a quotation mark arrives as the author meant it."""
    rows = 'tag_id,name,category,count\n1,"a,b",0,1\n2,"say_""hi""",0,1\n3,>_<,0,1\n4,it\'s,0,1\n'
    assert read_labels(written(tmp_path, "t.csv", rows), 4).names == ("a,b", 'say_"hi"', ">_<", "it's")


def test_a_quote_that_is_not_closed_names_its_line(tmp_path: Path) -> None:
    """One stray quotation mark would swallow every tag behind it: the line where it opens is named."""
    rows = 'tag_id,name,category,count\n1,a,0,1\n2,"b,0,1\n3,c,0,1\n4,d,0,1\n'
    with pytest.raises(UserError, match=r"t\.csv, line 3"):
        read_labels(written(tmp_path, "t.csv", rows))
    with pytest.raises(UserError, match=r"t\.csv, line 3: field larger"):
        read_labels(written(tmp_path, "t.csv", rows + "x" * 200_000))


def test_a_row_without_a_category_names_its_line(tmp_path: Path) -> None:
    """A cut-off last line is told, not guessed."""
    with pytest.raises(UserError, match=r"line 3: a column is missing"):
        read_labels(written(tmp_path, "t.csv", "tag_id,name,category\n1,a,0\n2,b"))


def test_characters_that_would_break_a_caption_do_not_reach_it(tmp_path: Path) -> None:
    """Line ends, controls and halves of a character become spaces; letters of any script and joiners stay."""
    rows = "name,category\na\x0bb,0\nc\u2028d,0\nx\u202ey,0\n\U0001f380,0\né,0\n"
    labels = read_labels(written(tmp_path, "t.csv", rows), 5)
    assert labels.names == ("a b", "c d", "x\u202ey", "\U0001f380", "é")
    mapping = '{"0": {"tag": "a\\nb", "category": "General"}, "1": {"tag": "\\ud83c", "category": "General"}}'
    assert read_labels(written(tmp_path, "m.json", mapping), 2).names == ("a b", "")


def test_the_authors_threshold_of_every_tag_is_read(tmp_path: Path) -> None:
    """animetimm's best_threshold; one that is no number is left out."""
    rows = "name,category,best_threshold\na,0,0.41\nb,4,\nc,9,1.5\n"
    assert read_labels(written(tmp_path, "t.csv", rows)).thresholds == (0.41, None, None)


def test_category_numbers_may_mean_something_else(tmp_path: Path) -> None:
    """e621's species are general tags when the descriptor says so; a categories.json beside the file counts, too."""
    path = written(tmp_path, "tags-selected.csv", "name,category\ncat,5\nlore,8\nwolf,0\n")
    said = read_labels(path, 3, {"5": "general", "8": "other"})
    assert said.categories == (Category.GENERAL, Category.OTHER, Category.GENERAL)
    assert read_labels(path).categories[0] is Category.META
    written(tmp_path, "categories.json", '[{"category": 5, "name": "character"}]')
    assert read_labels(path).categories[0] is Category.CHARACTER


@pytest.mark.parametrize("nested", [False, True])
def test_a_vocabulary_is_read_by_number(tmp_path: Path, nested: bool) -> None:
    """cl_tagger 2 and Camie: tags by number in any order, categories by tag; a gap has no name."""
    inner = {
        "idx_to_tag": {"3": "year_2024", "0": "smile", "1": "rating_general"},
        "tag_to_category": {"smile": "general", "rating_general": "Rating", "year_2024": "year"},
    }
    data = {"dataset_info": {"tag_mapping": inner}, "model_info": {"img_size": 512}} if nested else inner
    labels = read_labels(written(tmp_path, "v.json", json.dumps(data)), 5)
    assert labels.names == ("smile", "rating_general", "", "year_2024", "")
    kinds = (Category.GENERAL, Category.RATING, Category.OTHER, Category.OTHER, Category.OTHER)
    assert labels.categories == kinds


def test_plain_lists_are_general_tags(tmp_path: Path) -> None:
    """JoyTag's text file and ML-Danbooru's JSON list have no categories."""
    assert read_labels(written(tmp_path, "top_tags.txt", "a\r\nb\n\n"), 2).names == ("a", "b")
    labels = read_labels(written(tmp_path, "classes.json", '["a", "b"]'), 2)
    assert labels.names == ("a", "b") and set(labels.categories) == {Category.GENERAL}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", ""),
        ("t.csv", "tag,kind\na,0\n"),
        ("m.json", "{"),
        ("m.json", '{"0": {"tag": "a"}}'),
        ("m.json", '{"first": {"tag": "a", "category": "General"}}'),
        ("m.json", '{"999999999": {"tag": "a", "category": "General"}}'),
        ("m.json", '{"-1": {"tag": "a", "category": "General"}}'),
        ("m.json", "3"),
        ("m.json", '{"idx_to_tag": 3}'),
        ("m.json", "[" * 100_000),
        ("t.csv", "name,category\n\udc80,0\n"),
    ],
)
def test_a_file_of_another_form_is_one_sentence(tmp_path: Path, name: str, text: str) -> None:
    """Empty, cut off, of another kind, or with numbers that nobody could have: the file is named."""
    path = written(tmp_path, name, text)
    with pytest.raises(UserError) as caught:
        read_labels(path)
    assert str(path) in caught.value.message and "\n" not in caught.value.message


def test_a_wrong_number_of_rows_names_both_numbers(tmp_path: Path) -> None:
    """One row too many or too few would shift every tag behind it."""
    path = written(tmp_path, "t.csv", "name,category\na,0\nb,0\n")
    for outputs in (1, 3):
        with pytest.raises(UserError, match=f"names 2 tags, but the model has {outputs} outputs"):
            read_labels(path, outputs)
