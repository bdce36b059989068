"""The words behind `kohya-tui tag`: sd-scripts' options, pasted lines, and mistakes."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from core.problems import UserError
from core.tagging.command import parse_command, usage
from core.tagging.options import CaptionOptions, parse_replacements
from core.workspace import Workspace

GUIDE = r"""
python sd-scripts/finetune/tag_images_by_wd14_tagger.py \
    train_data/rinni/10_rinni \
    --repo_id "SmilingWolf/wd-v1-4-convnext-tagger-v2" \
    --batch_size 1 \
    --thresh 0.35 \
    --general_threshold 0.35 \
    --character_threshold 0.45 \
    --caption_extension .txt \
    --remove_underscore \
    --undesired_tags "realistic,photo,simple_background,white_background" \
    --character_tags_first \
    --caption_separator ", " \
    --onnx \
    --force_download
"""
GUIDE_CAPTION = CaptionOptions(
    thresh=0.35,
    general_threshold=0.35,
    character_threshold=0.45,
    remove_underscore=True,
    undesired_tags="realistic,photo,simple_background,white_background",
    character_tags_first=True,
)


@pytest.mark.parametrize(
    "words",
    [
        shlex.split(GUIDE),
        shlex.split(GUIDE.replace("\\\n", "\n")),
        shlex.split(GUIDE.replace("\\\n", "\n"))[2:],
        ["/opt/venv/bin/python3.11", *shlex.split(GUIDE.replace("\\\n", " '\\\\' "))[1:]],
        [*shlex.split(GUIDE.replace("\\\n", "\\ \n"))],
    ],
    ids=["as pasted", "on one line", "options only", "with stray backslashes", "blanks after the backslashes"],
)
def test_the_guides_command_works_when_pasted(words: list[str]) -> None:
    """However the shell hands over the guide's lines, the request is the same."""
    request = parse_command(words)
    assert request.target == "train_data/rinni/10_rinni"
    assert request.model == "SmilingWolf/wd-v1-4-convnext-tagger-v2"
    assert request.caption == GUIDE_CAPTION
    assert (request.batch_size, request.force_download, request.policy) == (1, True, "overwrite")


def test_every_option_of_sd_scripts_is_accepted_in_both_spellings() -> None:
    """`--opt value` and `--opt=value`, the misspelt extension, and options that need nothing here."""
    options = {
        "repo_id": "a/b",
        "model_dir": "models",
        "batch_size": "4",
        "max_data_loader_n_workers": "2",
        "output_path": "out.json",
        "caption_extention": ".cap",
        "thresh": "0.3",
        "general_threshold": "0.31",
        "character_threshold": "0.32",
        "meta_threshold": "0.33",
        "model_threshold": "0.34",
        "copyright_threshold": "0.35",
        "artist_threshold": "1.1",
        "undesired_tags": "a,b",
        "always_first_tags": "1girl",
        "caption_separator": " | ",
        "tag_replacement": "a,b",
    }
    flags = [
        "force_download",
        "recursive",
        "remove_underscore",
        "debug",
        "frequency_tags",
        "onnx",
        "append_tags",
        "use_rating_tags",
        "use_rating_tags_as_last_tag",
        "use_quality_tags",
        "use_quality_tags_as_last_tag",
        "character_tags_first",
        "character_tag_expand",
    ]
    apart = ["dir", *(word for key, value in options.items() for word in (f"--{key}", value))]
    joined = ["dir", *(f"--{key}={value}" for key, value in options.items())]
    tail = [f"--{flag}" for flag in flags]
    request = parse_command(apart + tail)
    assert request == parse_command(tail + joined)
    assert (request.caption_extension, request.workers, request.policy) == (".cap", 2, "append")
    assert (request.caption.artist_threshold, request.caption.caption_separator) == (1.1, " | ")
    assert all(f"--{name}" in usage() for name in [*options, *flags] if name != "caption_extention")


def test_a_blank_separator_is_kept() -> None:
    """`--caption_separator " "` is a separator, not a stray blank."""
    assert parse_command(["dir", "--caption_separator", " ", "--onnx"]).caption.caption_separator == " "
    assert parse_command(["dir", "--undesired_tags", "", "--onnx"]).caption.undesired_tags == ""


def test_a_misspelt_option_is_named_with_its_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing mistake gives one sentence and the right spelling, and nothing is printed behind our back."""
    with pytest.raises(UserError, match="no option --remove-underscores") as caught:
        parse_command(["dir", "--remove-underscores"])
    assert caught.value.hint == "Did you mean --remove_underscore?"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Which images"),
        (["one", "two"], "One dataset or folder at a time"),
        (["dir", "--batch_size", "0"], "0 is not 1 or more"),
        (["dir", "--policy", "maybe"], "maybe"),
        (["dir", "--append_tags", "--policy", "skip"], "exclude each other"),
        (["dir", "--tag_replacement", "a,b,c"], "source,target"),
        (["dir", "--thresh"], "expected one argument"),
        (["dir", "--caption_extension", ".PNG"], "would overwrite the pictures"),
        (["dir", "--caption_extension", "/tmp/x"], "not the ending of a file name"),
        (["dir", "--trigger", " , "], "trigger word is empty"),
    ],
)
def test_wrong_usage_is_told_in_one_sentence(words: list[str], message: str) -> None:
    """No usage dump and no traceback, a sentence that names the option."""
    with pytest.raises(UserError, match=message):
        parse_command(words)


def test_replacements_know_escapes() -> None:
    r"""`\,` and `\;` are the characters themselves; blanks around the parts do not count."""
    assert parse_replacements(r"a\,b , c\;d ; e,f;") == [("a,b", "c;d"), ("e", "f")]


def test_a_folder_with_images_means_just_that_folder(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, as in the guide, is tagged without its subfolders; a dataset's name means its subsets."""
    subset = workspace.train_data / "rinni" / "10_rinni"
    (subset / "backup_captions").mkdir(parents=True)
    (subset / "a.png").write_bytes(b"")
    monkeypatch.chdir(workspace.root)
    by_path = parse_command(["train_data/rinni/10_rinni", "--output_path", "x.json"]).run_spec(workspace)
    assert by_path["folders"] == [str(subset)]
    assert by_path["names"] == ["train_data/rinni/10_rinni"]
    assert by_path["options"]["output_path"] == str(Path.cwd() / "x.json")
    assert parse_command(["rinni"]).run_spec(workspace)["folders"] == [str(subset)]
    with pytest.raises(UserError, match="nowhere"):
        parse_command(["nowhere"]).run_spec(workspace)
