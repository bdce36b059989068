"""Sample prompts: read as sd-scripts reads them, changed without touching anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import prompts
from core.problems import UserError

GOLD: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "prompts.json").read_text("utf-8"))
TEXT = (
    "# two prompts, and a comment\r\n"
    "rinni, smile --w 512 --h 768 --d 42 --zz 3  --l 7.5 --s 28 --n lowres, bad hands\r\n"
    "\r\n"
    "  mika --W 640 --D 7\r\n"
)


@pytest.mark.parametrize("case", GOLD["lines"], ids=lambda case: repr(case["line"])[:40])
def test_a_line_is_read_as_the_trainer_reads_it(case: dict[str, Any]) -> None:
    """Every line gives the dictionary that line_to_prompt_dict of sd-scripts gave."""
    assert prompts.parse(case["line"]) == case["dict"]


@pytest.mark.parametrize("case", GOLD["files"], ids=lambda case: repr(case["text"])[:40])
def test_a_file_has_the_prompts_that_the_trainer_finds(case: dict[str, Any]) -> None:
    """Comments, blank lines and line ends as load_prompts of sd-scripts takes them."""
    lines = prompts.lines_of(case["text"])
    assert "".join(lines) == case["text"]
    found = [prompts.parse(lines[number]) for number in prompts.prompt_lines(case["text"])]
    assert found == [{key: value for key, value in row.items() if key != "enum"} for row in case["prompts"]]


def test_one_option_is_changed_and_the_rest_stays() -> None:
    """Order, blanks, unknown options, line ends and the case of letters are as they were."""
    lines = prompts.lines_of(TEXT)
    changed = prompts.with_value(lines[1], "l", "6")
    assert changed == lines[1].replace("7.5", "6")
    assert prompts.with_value(lines[3], "w", "512") == "  mika --W 512 --D 7\r\n"
    assert prompts.with_value(lines[3], "d", "") == "  mika --W 640\r\n"
    assert prompts.with_value(lines[3], "n", "ugly") == "  mika --W 640 --D 7 --n ugly\r\n"
    assert prompts.with_value(lines[3], "", "rinni") == "  rinni --W 640 --D 7\r\n"
    assert prompts.value_of(lines[1], "n") == "lowres, bad hands" and prompts.value_of(lines[1], "") == "rinni, smile"


@pytest.mark.parametrize(
    ("flag", "text"),
    [("w", "12"), ("w", "x"), ("l", "1e3"), ("l", "-1"), ("d", "-1"), ("d", str(2**64)), ("n", "a --w 5"), ("", ""),
     ("", "# a"), ("", "a --n b")],
)  # fmt: skip
def test_what_the_trainer_would_not_read_is_refused(flag: str, text: str) -> None:
    """A sentence instead of a line that means something else."""
    with pytest.raises(UserError):
        prompts.with_value("a --w 512", flag, text)


WORDS = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1, max_size=20)


@given(WORDS, st.lists(st.sampled_from(["w 512", "d 1", "n bad", "x y", "l 7.5", "s 3"]), max_size=5), WORDS)
def test_what_is_set_is_what_is_read(prompt: str, pieces: list[str], new: str) -> None:
    """Whatever the line: after a change the trainer reads the new value, and every other one as before."""
    line = " --".join([prompt, *pieces]) + "\n"
    try:
        changed = prompts.with_value(line, "n", new)
    except UserError:
        return
    if not new.strip() or not prompts.is_prompt(line):
        return
    before, after = prompts.parse(line), prompts.parse(changed)
    assert after["negative_prompt"] == " ".join(new.split())
    assert {**before, "negative_prompt": ""} == {**after, "negative_prompt": ""}


def test_rows_are_added_moved_and_removed_with_the_files_own_line_ends() -> None:
    """A new prompt gets the size of its model family and a seed that no other has; the rest of the file stays."""
    line = prompts.new_line("new one", "sdxl_train_network.py", TEXT)
    assert line == "new one --w 1024 --h 1024 --d 43 --s 20 --l 7.5"
    added = prompts.insert(TEXT, line)
    assert added == TEXT + line + "\r\n"
    assert prompts.remove(added, 4) == TEXT
    first, second = prompts.prompt_lines(TEXT)
    swapped = prompts.swap(TEXT, first, second)
    assert prompts.prompt_lines(swapped) == [first, second] and prompts.swap(swapped, first, second) == TEXT
    assert prompts.insert("a", "b") == "a\nb\n"


def test_what_is_drawn_is_said() -> None:
    """Sizes are rounded as the trainer does, what it ignores is named, and a missing seed is no secret."""
    said = prompts.as_drawn("a --w 517 --zz 3 --g 3.5", "train_network.py")
    assert said.startswith("512×512 · another seed every time · 30 steps · cfg 7.5")
    assert "ignored: --zz --g" in said
    assert "guidance 3.5" in prompts.as_drawn("a --g 3.5", "flux_train_network.py")
    assert prompts.effective("a", "lumina_train_network.py")["width"] == 1024


def test_prompts_of_other_kinds_of_files_are_read() -> None:
    """TOML and JSON as load_prompts reads them; what it could not read is said."""
    toml = '[prompt]\nwidth = 512\n[[prompt.subset]]\nprompt = "a"\n[[prompt.subset]]\nprompt = "b"\nseed = 3\n'
    assert prompts.foreign(toml, ".toml") == [{"width": 512, "prompt": "a"}, {"width": 512, "prompt": "b", "seed": 3}]
    assert prompts.foreign('["a --w 64", {"prompt": "b"}]', ".json") == [{"prompt": "a", "width": 64}, {"prompt": "b"}]
    with pytest.raises(UserError, match="cannot be read"):
        prompts.foreign("[x]", ".toml")
